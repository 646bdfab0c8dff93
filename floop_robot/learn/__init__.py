"""Continuous SAC and PPO on stable-baselines3, behaviour cloning, checkpoints and export; the only room with torch."""
