"""One robot's safety process as a node: status topics, stops and resets."""
