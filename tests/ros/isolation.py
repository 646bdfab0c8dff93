"""Domain ids for tests that run side by side, drawn as fleets draw theirs: neither gets the other's."""

from floop_robot.services.ros_domain import reserved_domain

__all__ = ["reserved_domain"]
