"""An arm's driver and perception as ROS topics: joint states in, joint commands out."""
