"""What every node shares: start and end, parameters, timers, QoS, diagnostics."""
