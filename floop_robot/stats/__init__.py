"""Sequential tests and success bounds that may be looked at after every episode."""
