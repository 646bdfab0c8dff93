"""The loop wired: one file per process, and the supervisor that keeps them running."""
