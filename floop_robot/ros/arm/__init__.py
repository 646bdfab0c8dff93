"""An arm's driver and perception as ROS topics: robot states in, joint commands out, conversions of both."""
