"""The loop as ROS 2 nodes: topics, services, parameters and lifecycle around rooms that know nothing of ROS."""
