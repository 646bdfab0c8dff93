"""Simulated robots: PyBullet arms in real time, and their world."""
