"""Continuous SAC and PPO; the only room with torch."""
