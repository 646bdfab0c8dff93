"""What runs on the robot: kinematics, inference, safety limiter, loops, policy buffer, episodes."""
