"""Write a bundle of format 3 as this floop does: `PYTHONPATH=OLD_CHECKOUT python make_bundle.py FILE`.

Like `make_messages.py`, it runs with the floop of the version before and imports no tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from floop_robot.bundle import Architecture, Bundle, Normalization
from floop_robot.bundle.manifest import Activation, Distribution
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task


def made() -> Bundle:
    """What only format 3 says: ELU, no density, limits of observations and means."""
    rules, rng = get_task("floop/Pick-v0"), np.random.default_rng(3)
    layout = rules.spec.observation
    shape = Architecture(
        observation_size=layout.size, action_size=rules.spec.action.size, hidden=(6,), activation=Activation.ELU,
        distribution=Distribution.TANH, mean_limit=1.5,
    )  # fmt: skip
    return Bundle.build(
        task=rules.spec,
        ids=ids_of(rules, load_robot("panda")),
        algo="sac",
        architecture=shape,
        tensors={name: rng.normal(0.0, 0.5, size) for name, size in shape.tensor_shapes().items()},
        observations=rng.uniform(layout.low, layout.high, (8, layout.size)),
        normalization=Normalization(tuple(layout.offset.tolist()), tuple(layout.scale.tolist()), 2.0),
        settings={"gamma": 0.97, "net_arch": (6,), "ent_coef": "auto_0.1", "target_entropy": None},
    )


if __name__ == "__main__":
    made().save(Path(sys.argv[1]))
