"""Practice: simulated episodes on the live weights, where tasks fail."""
