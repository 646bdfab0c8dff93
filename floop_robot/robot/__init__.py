"""What runs on a robot, without torch, PyBullet and ROS: control loops, safety, kinematics, policy updates."""
