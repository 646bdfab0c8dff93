"""Collector: episodes for training, made in processes of their own while this one computes gradients.

It works in lockstep (one answer of each process per request), so a seed and a number of processes give the same run on
any machine. Environments live in these processes only: what they print, break or import never reaches the learner's.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from floop_envs.seeds import Purpose
from floop_robot.bundle import Actor, Architecture, Normalization
from floop_robot.learn.mlp import Array
from floop_robot.train.collector_process import CollectorProcess
from floop_robot.train.environments.gym_training_env import GymTrainingEnv
from floop_robot.train.train_env import TrainingEnv, TrainingEnvSpec, arm_description
from floop_robot.train.training_episode import EnvDescription, TrainingEpisode


class ActorMessage(msgspec.Struct, frozen=True):
    """A policy on its way to the worker."""

    architecture: Architecture
    normalization: Normalization
    tensors: dict[str, Array]

    def actor(self) -> Actor:
        """The numpy actor."""
        return Actor(self.architecture, self.normalization, self.tensors)


class DescribeRequest(msgspec.Struct, frozen=True):
    """The description wanted."""


class CollectRequest(msgspec.Struct, frozen=True):
    """Whole episodes wanted; `actor` None asks the expert."""

    actor: ActorMessage | None
    purpose: Purpose
    indices: tuple[int, ...]
    sample: bool


class AdvanceRequest(msgspec.Struct, frozen=True):
    """Steps wanted of each process, which goes on with its training episode; only of Gymnasium environments."""

    actor: ActorMessage
    steps: int


Request = DescribeRequest | CollectRequest | AdvanceRequest


def collect_episodes(env: TrainingEnv, request: CollectRequest) -> list[TrainingEpisode]:
    """Make the episodes of a request, here."""
    actor = env.expert() if request.actor is None else request.actor.actor()
    return [env.episode(actor, request.purpose, index, sample=request.sample) for index in request.indices]


class Collector:
    """Worker processes; `ask` and `receive` alternate. Use it as a context."""

    def __init__(self, spec: TrainingEnvSpec, workers: int = 1) -> None:
        self._spec = spec
        self._workers = [self._process(i, workers) for i in range(workers)]
        self._helper: CollectorProcess | None = None
        self._is_asked = False

    def _process(self, worker: int, workers: int) -> CollectorProcess:
        name, simulates = f"floop-collector-{worker}", self._spec.env or self._spec.task
        return CollectorProcess(serve, (self._spec, worker, workers), name, simulates)

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> EnvDescription:
        """What is learned; raises `FloopError` for an environment that is unknown, unfit or broken."""
        if not self._spec.env:
            return arm_description(self._spec.task, self._spec.robot)
        first = self._workers[0]
        first.send(DescribeRequest())
        description: EnvDescription = first.receive()
        return description

    def ask(self, request: CollectRequest | AdvanceRequest) -> None:
        """Have episodes made; returns at once. What was asked before must have been received."""
        assert not self._is_asked, "the last answer was not received: this one would be taken for it"
        self._is_asked = True
        _send(request, self._workers)

    def receive(self) -> list[TrainingEpisode]:
        """What was last asked for; waits for it. Episodes come in the order of their indices, parts worker by worker.

        Raises `EnvironmentFailed` when the environment broke.
        """
        self._is_asked = False
        return _receive(self._workers)

    def make(self, request: CollectRequest) -> list[TrainingEpisode]:
        """Whole episodes in the order of their indices; one more process helps, which is started when first needed."""
        assert not self._is_asked, "the last answer was not received: this one would be taken for it"
        if self._helper is None:
            self._helper = self._process(len(self._workers), len(self._workers) + 1)
        everybody = [*self._workers, self._helper]
        _send(request, everybody)
        return _receive(everybody)

    def close(self) -> None:
        """End the workers."""
        processes = [*self._workers, *([self._helper] if self._helper else [])]
        for process in processes:
            process.hang_up()
        for process in processes:
            process.join()


def _send(request: CollectRequest | AdvanceRequest, processes: list[CollectorProcess]) -> None:
    for i, process in enumerate(processes):
        share = request
        if isinstance(request, CollectRequest):
            share = msgspec.structs.replace(request, indices=request.indices[i :: len(processes)])
        process.send(share)


def _receive(processes: list[CollectorProcess]) -> list[TrainingEpisode]:
    answers: list[list[TrainingEpisode]] = [process.receive() for process in processes]
    whole = max(map(len, answers), default=0)
    return [answer[i] for i in range(whole) for answer in answers if i < len(answer)]


def serve(spec: TrainingEnvSpec, worker: int, workers: int) -> object:
    """What a worker process answers requests with: a function of one request."""
    gym = spec.make_gym(worker, workers) if spec.env else None
    env: TrainingEnv = gym if gym is not None else spec.make()
    return lambda request: _answer(env, gym, request)


def _answer(env: TrainingEnv, gym: GymTrainingEnv | None, request: Request) -> object:
    if isinstance(request, DescribeRequest):
        return env.description
    if isinstance(request, CollectRequest):
        return collect_episodes(env, request)
    assert gym is not None, "floop's own tasks make whole episodes"
    return gym.advance(request.actor.actor(), request.steps)


def episode_range(first: int, count: int) -> tuple[int, ...]:
    """Episode numbers `first` … `first + count - 1`."""
    return tuple(range(first, first + count))


def success_count(episodes: Iterable[TrainingEpisode]) -> int:
    """How many succeeded."""
    return sum(episode.success for episode in episodes)
