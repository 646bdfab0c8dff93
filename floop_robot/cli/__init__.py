"""The floop command."""
