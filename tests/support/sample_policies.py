"""Real policies for tests within seconds: scripted demonstrations, random features, least squares."""

from __future__ import annotations

import functools

import numpy as np

from floop_envs.env import make_env
from floop_envs.expert import Expert
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_robot.bundle import Activation, Architecture, Bundle, Distribution
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import ActMode, EpisodeEnd, ObjectReport, OutcomeCode
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.tasks import get_task

TASK = "floop/Pick-v0"
HIDDEN = 256
RIDGE = 0.1
DEMONSTRATIONS = 40


@functools.cache
def _demonstrations() -> tuple[np.ndarray, np.ndarray]:
    env, rng = make_env(TASK), np.random.default_rng(0)
    expert = Expert(env.rules.spec)
    observations, actions = [], []
    for scenario in scenarios_of(TrainingScenarios(TASK), Purpose.DEMONSTRATION, 0, DEMONSTRATIONS):
        for step in run_episode(env, expert, scenario, rng, sample=True, record_trace=True).trace:
            observations.append(step.obs)
            actions.append(expert.mean(step.obs))
    env.close()
    return np.stack(observations), np.stack(actions)


@functools.cache
def _fitted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    observations, actions = _demonstrations()
    layout = get_task(TASK).spec.observation
    x = (observations - layout.offset) / layout.scale
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(HIDDEN, x.shape[1])) * (rng.random((HIDDEN, x.shape[1])) < 0.3)
    bias = rng.normal(size=HIDDEN)
    features = np.c_[np.maximum(x @ weight.T + bias, 0.0), np.ones(len(x))]
    target = np.arctanh(np.clip(actions, -0.995, 0.995))
    head = np.linalg.solve(features.T @ features + RIDGE * np.eye(HIDDEN + 1), features.T @ target)
    return weight, bias, head


@functools.cache
def skilled() -> Bundle:
    """A policy that picks boxes and cylinders (nearly) always."""
    weight, bias, head = _fitted()
    return _bundle(weight, bias, head[:-1].T, head[-1])


@functools.cache
def clumsy() -> Bundle:
    """The same, but it never closes the gripper on a cylinder: it fails at about half of known tasks."""
    weight, bias, head = (part.copy() for part in _fitted())
    spec = get_task(TASK).spec
    weight[0], bias[0] = 0.0, 0.0
    weight[0, spec.observation.slices["object_class"].start + OBJECT_CLASSES.index("cylinder")] = 1.0
    mean = head[:-1].T
    mean[:, 0] = 0.0
    mean[spec.action.slices["gripper"], 0] = 50.0
    return _bundle(weight, bias, mean, head[-1])


@functools.cache
def collapsed(seed: int = 0) -> Bundle:
    """A policy that does anything but work."""
    rng = np.random.default_rng(seed)
    spec = get_task(TASK).spec
    size, actions = spec.observation.size, spec.action.size
    return _bundle(
        0.3 * rng.normal(size=(HIDDEN, size)), rng.normal(size=HIDDEN), np.zeros((actions, HIDDEN)), rng.normal(size=5)
    )


def _bundle(weight: np.ndarray, bias: np.ndarray, mean_weight: np.ndarray, mean_bias: np.ndarray) -> Bundle:
    rules = get_task(TASK)
    spec = rules.spec
    tensors = {
        "layer0.weight": weight,
        "layer0.bias": bias,
        "mean.weight": mean_weight,
        "mean.bias": mean_bias,
        "log_std.weight": np.zeros((spec.action.size, HIDDEN)),
        "log_std.bias": np.full(spec.action.size, -2.0),
    }
    return Bundle.build(
        task=spec,
        ids=ids_of(rules, load_robot("panda")),
        algo="clone",
        architecture=Architecture(
            observation_size=spec.observation.size,
            action_size=spec.action.size,
            hidden=(HIDDEN,),
            activation=Activation.RELU,
            distribution=Distribution.TANH_GAUSSIAN,
        ),
        tensors={name: np.asarray(value, np.float32) for name, value in tensors.items()},
        observations=_demonstrations()[0][::50],
    )


def published(bundle: Bundle, version: int) -> Bundle:
    return bundle.with_version(version=version, epoch=1, parent=0, certificate=None)


def episode_end(object_class: str, success: bool, episode: int = 0) -> EpisodeEnd:
    rng = np.random.default_rng(episode)
    side = 0.1 if object_class == "basket" else 0.045
    return EpisodeEnd(
        seq=episode,
        episode=episode,
        stamp_ns=0,
        policy_version=1,
        act_mode=ActMode.MEAN,
        steps=40,
        duration_s=3.2,
        total_reward=0.0,
        outcome=OutcomeCode.SUCCESS if success else OutcomeCode.TIMEOUT,
        final_obs=np.zeros(get_task(TASK).spec.observation.size, np.float32),
        object=ObjectReport(
            object_class,
            (side, side, side),
            (float(rng.uniform(0.42, 0.58)), float(rng.uniform(-0.12, 0.12)), 0.5 * side),
            float(rng.uniform(-3, 3)),
        ),
    )
