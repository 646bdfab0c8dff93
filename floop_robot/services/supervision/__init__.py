"""Which processes a fleet has, and how they are started, watched and stopped."""
