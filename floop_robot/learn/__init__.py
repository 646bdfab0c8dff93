"""Continuous SAC and PPO on stable-baselines3, behavior cloning, checkpoints and export; the only room with torch."""
