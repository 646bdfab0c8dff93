"""Small real policies for the tests of bundle, registry and rollout."""

from __future__ import annotations

import numpy as np

from floop_robot.bundle import Activation, Actor, Architecture, Bundle, DataRange, Distribution
from floop_robot.spec.ids import Ids, contract_id
from floop_robot.spec.layout import Field, Layout
from floop_robot.spec.task import TaskSpec

OBSERVATION = Layout(
    (
        Field(name="tcp", size=3, unit="m", frame="base", low=-1, high=1, offset=0.3, scale=0.2),
        Field(name="width", size=1, unit="m", low=0, high=0.08, offset=0.04, scale=0.04),
        Field(name="context", size=2, unit="", low=-1, high=1),
    )
)
ACTION = Layout(
    (Field(name="delta", size=3, unit="", low=-1, high=1), Field(name="grip", size=1, unit="", low=-1, high=1))
)
TASK = TaskSpec(
    id="test/Reach-v0",
    meaning="a task of the tests",
    observation=OBSERVATION,
    action=ACTION,
    policy_rate_hz=20,
    max_steps=50,
)
IDS = Ids(contract=contract_id(TASK), limits="limits-a", reward="reward-a")


def architecture(
    distribution: Distribution = Distribution.TANH_GAUSSIAN,
    hidden: tuple[int, ...] = (64, 64),
    activation: Activation = Activation.RELU,
    task: TaskSpec = TASK,
) -> Architecture:
    return Architecture(
        observation_size=task.observation.size,
        action_size=task.action.size,
        hidden=hidden,
        activation=activation,
        distribution=distribution,
    )


def random_tensors(arch: Architecture, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in arch.tensor_shapes().items()
    }


def random_observations(n: int, seed: int = 0, task: TaskSpec = TASK) -> np.ndarray:
    low, high = task.observation.low, task.observation.high
    return np.random.default_rng(seed).uniform(low, high, (n, task.observation.size)).astype(np.float32)


def make_bundle(
    seed: int = 0,
    *,
    task: TaskSpec = TASK,
    ids: Ids = IDS,
    arch: Architecture | None = None,
    parent: int = 0,
    data: DataRange | None = None,
) -> Bundle:
    arch = arch or architecture(task=task)
    return Bundle.build(
        task=task,
        ids=ids,
        algo="sac",
        architecture=arch,
        tensors=random_tensors(arch, seed),
        observations=random_observations(16, task=task),
        data=data,
        parent=parent,
    )


def make_actor(arch: Architecture, seed: int = 0) -> tuple[Actor, dict[str, np.ndarray]]:
    bundle = make_bundle(seed, arch=arch)
    return bundle.actor(), bundle.arrays()
