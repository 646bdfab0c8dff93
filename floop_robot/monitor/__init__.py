"""What robots report of their tasks: which fail, and which rows are new to the policy."""
