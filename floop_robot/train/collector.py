"""Collector: episodes for training, made in a process of their own while this one computes gradients.

It works in lockstep (one batch of episodes per request), so a seed gives the same run on any machine.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from floop_envs.seeds import Purpose
from floop_robot.bundle import Actor, Architecture, Normalization
from floop_robot.learn.mlp import Array
from floop_robot.spec.errors import FloopError
from floop_robot.train.train_env import TrainingEnv, TrainingEnvSpec, TrainingEpisode

STOP_S = 3.0
"""A worker that does not end by itself in this time is ended."""


class ActorMessage(msgspec.Struct, frozen=True):
    """A policy on its way to the worker."""

    architecture: Architecture
    normalization: Normalization
    tensors: dict[str, Array]

    def actor(self) -> Actor:
        """The numpy actor."""
        return Actor(self.architecture, self.normalization, self.tensors)


class CollectRequest(msgspec.Struct, frozen=True):
    """Episodes wanted; `actor` None asks the expert."""

    actor: ActorMessage | None
    purpose: Purpose
    indices: tuple[int, ...]
    sample: bool
    max_failures: int = 1_000_000
    """Stop early after more failures than this: a policy that is that bad need not be measured exactly."""


class CollectorFailed(FloopError):
    """The process that makes episodes broke."""


def collect_episodes(env: TrainingEnv, request: CollectRequest) -> list[TrainingEpisode]:
    """Make the episodes of a request, here."""
    actor = env.expert() if request.actor is None else request.actor.actor()
    out: list[TrainingEpisode] = []
    failures = 0
    for index in request.indices:
        out.append(env.episode(actor, request.purpose, index, sample=request.sample))
        failures += not out[-1].success
        if failures > request.max_failures:
            break
    return out


class Collector:
    """One worker process; `ask` and `receive` alternate. Use it as a context."""

    def __init__(self, spec: TrainingEnvSpec) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._is_asked = False
        self._process = context.Process(target=_worker_main, args=(spec, theirs), name="floop-collector", daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: CollectRequest) -> None:
        """Have episodes made; returns at once. What was asked before must have been received."""
        assert not self._is_asked, "the last answer was not received: this one would be taken for it"
        self._is_asked = True
        try:
            self._connection.send(request)
        except (BrokenPipeError, ConnectionResetError):
            raise CollectorFailed("the process that simulates ended; its error is above") from None

    def receive(self) -> list[TrainingEpisode]:
        """The episodes last asked for; waits for them. Raises `CollectorFailed` when the worker broke."""
        self._is_asked = False
        try:
            reply: Any = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise CollectorFailed("the process that simulates ended; its error is above") from None
        if isinstance(reply, str):
            raise CollectorFailed(f"the process that simulates failed: {reply}")
        episodes: list[TrainingEpisode] = reply
        return episodes

    def make(self, request: CollectRequest) -> list[TrainingEpisode]:
        """`ask` and `receive`."""
        self.ask(request)
        return self.receive()

    def close(self) -> None:
        """End the worker."""
        self._connection.close()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _worker_main(spec: TrainingEnvSpec, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent closes the pipe
    try:
        env = spec.make()
        while True:
            request: CollectRequest = connection.recv()
            connection.send(collect_episodes(env, request))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except FloopError as error:
        _send_error(connection, str(error))
    except Exception as error:
        traceback.print_exc()
        _send_error(connection, f"{type(error).__name__}: {error}")


def _send_error(connection: Connection, error: str) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone
        connection.send(error)


def episode_range(first: int, count: int) -> tuple[int, ...]:
    """Episode numbers `first` … `first + count - 1`."""
    return tuple(range(first, first + count))


def success_count(episodes: Iterable[TrainingEpisode]) -> int:
    """How many succeeded."""
    return sum(episode.success for episode in episodes)
