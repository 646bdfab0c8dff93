"""The simulated arm of one robot as a node."""
