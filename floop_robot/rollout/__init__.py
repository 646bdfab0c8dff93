"""Bundles to robots, watched live."""
