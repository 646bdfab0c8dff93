"""The safety process of one robot as a node."""
