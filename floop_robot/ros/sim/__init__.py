"""One robot's simulated arm as a node: the topics and the reset service of a real driver."""
