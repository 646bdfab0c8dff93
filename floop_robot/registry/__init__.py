"""Policy versions and their history."""
