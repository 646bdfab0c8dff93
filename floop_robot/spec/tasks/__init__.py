"""The tasks: observation, reward and success of each."""
