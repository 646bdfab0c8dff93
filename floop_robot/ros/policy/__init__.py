"""The policy process of one robot as a managed node."""
