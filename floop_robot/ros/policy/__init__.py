"""One robot's policy process as a managed node: life cycle, topics, services, the ExecuteTask action, diagnostics."""
