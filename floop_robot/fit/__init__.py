"""Fits the simulator to a robot: its hidden parameters, from what it recorded."""
