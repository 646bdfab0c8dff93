"""Simulated robots: PyBullet arms in real time and the world they work in."""
