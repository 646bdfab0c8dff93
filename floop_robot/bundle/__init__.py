"""A policy as bytes and back."""
