"""Why ROS tests are skipped, in words that say what to do."""

NO_ROS = "rclpy is not installed here: `make setup-ros` installs ROS 2 and builds floop_interfaces"
NO_INTERFACES = "floop_interfaces is not built here: `make setup-ros` (or `colcon build`) builds it"
NO_LAUNCH = "ros2 launch is not installed here: it comes with a ROS distribution, not with the wheels"
