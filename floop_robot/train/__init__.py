"""`floop train` and `floop validate`: learning and measuring in simulation, in one process."""
