"""What every node shares: process, parameters, timers, QoS, topic names, services, conversions, diagnostics."""
