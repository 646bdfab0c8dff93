"""floop: a reinforcement-learning control stack for fleets of robot arms. Start with `floop_robot.core`."""
