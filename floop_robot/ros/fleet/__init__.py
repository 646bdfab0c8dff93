"""The fleet manager as a ROS node: operators' services, fleet topics, fleet-wide stop."""
