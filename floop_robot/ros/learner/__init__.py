"""The learner's status and services on ROS."""
