"""Any Gymnasium environment as `floop train --env` sees it: loaded, checked at each step, flattened to vectors."""

from floop_robot.train.environments.action_writer import ActionWriter
from floop_robot.train.environments.observation_reader import ObservationReader

__all__ = ["ActionWriter", "ObservationReader"]
