"""PpoAlgorithm: learns from requested actions with their densities, young enough to be on-policy."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from floop_robot.learn.algorithm import AlgorithmState, TrainingProgress
from floop_robot.learn.checkpoint import fill_arrays
from floop_robot.learn.factory import build_ppo
from floop_robot.learn.mlp import Array
from floop_robot.learn.ppo import FloopPPO
from floop_robot.learn.spaces import PolicySpace
from floop_robot.learn.success_imitation import SuccessImitation
from floop_robot.replay.transitions import EndedEpisode, Transitions, concatenate
from floop_robot.spec.default_settings import TASK_PPO
from floop_robot.spec.hyperparameters import PpoSettings
from floop_robot.spec.records import Source, StreamInfo


class PpoAlgorithm:
    """A `FloopPPO` that collects rows of explorers until they make one update."""

    def __init__(self, space: PolicySpace, settings: PpoSettings, seed: int) -> None:
        self.settings = settings.over(TASK_PPO)
        self._model = build_ppo(space, self.settings, seed)
        self._normalize = space.normalizer
        self._version = 0
        # Bounded: rows older than `max_policy_lag` are dropped, and each update uses up its rows.
        self._rows: dict[tuple[str, str], deque[Transitions]] = {}
        self._waiting = self._stale = self._gradient_steps = self._updates = 0
        imitates = self.settings.imitation_utd_ratio > 0.0
        self._imitation = SuccessImitation(self._model, space, self.settings, seed) if imitates else None

    @property
    def model(self) -> FloopPPO:
        """The model that is trained."""
        return self._model

    @property
    def algo(self) -> str:
        """Name of the algorithm."""
        return "ppo"

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return self.settings.net_arch

    @property
    def progress(self) -> TrainingProgress:
        """Where training stands."""
        logged = self._model.logger.name_to_value
        return TrainingProgress(
            gradient_steps=self._gradient_steps,
            # The logger holds numpy floats, which msgspec can't encode.
            actor_loss=float(logged.get("train/policy_gradient_loss", math.nan)),
            critic_loss=float(logged.get("train/value_loss", math.nan)),
            entropy=-float(logged.get("train/entropy_loss", math.nan)),
            new_rows=self._waiting,
            stale_rows=self._stale,
        )

    def take(self, stream: StreamInfo, rows: Transitions | None, ended: Sequence[EndedEpisode] = ()) -> float:
        """Keep sampled rows of explorers that are young enough, and all rows for imitation.

        Where it imitates, PPO learns from new tasks alone: known ones are to stay as they are. Where nothing fails,
        updates on them cost the shipped policy 8 points in 30 s (docs/design/learning.md).
        """
        worth = self._imitation.take(stream, rows, ended) if self._imitation else 0.0
        if rows is None or stream.source is not Source.EXPLORER:
            return worth
        return worth + self._take_sampled(stream, rows)

    def _take_sampled(self, stream: StreamInfo, rows: Transitions) -> float:
        """Each row that is kept pays for its share of an update."""
        rows = rows.take(np.isfinite(rows.log_prob) & (rows.is_new | (self._imitation is None)))
        young = rows.policy_version >= self._version - self.settings.max_policy_lag
        self._stale += len(rows) - int(young.sum())
        rows = rows.take(young)
        if not len(rows):
            return 0.0
        self._rows.setdefault((stream.robot, stream.boot_id), deque()).append(rows)
        self._waiting += len(rows)
        return self.settings.utd_ratio * len(rows)

    @property
    def ready(self) -> bool:
        """Whether there are enough rows for one update, or successes to imitate."""
        return self._has_rollout or (self._imitation is not None and self._imitation.is_due)

    @property
    def _has_rollout(self) -> bool:
        return self._waiting >= self.settings.n_steps

    def averaged_weights(self) -> AbstractContextManager[None]:
        """PPO averages nothing: its actor moves little from update to update."""
        return nullcontext()

    def on_weights_published(self, version: int) -> None:
        """Explorers act on live weights `version` from now on; drop rows of policies that are too old."""
        self._version = version
        self._drop_stale()

    def _drop_stale(self) -> None:
        oldest = self._version - self.settings.max_policy_lag
        for key, parts in list(self._rows.items()):
            while parts and parts[0].policy_version[0] < oldest:
                first = parts.popleft()
                young = first.take(first.policy_version >= oldest)
                self._stale += len(first) - len(young)
                self._waiting -= len(first) - len(young)
                if len(young):
                    parts.appendleft(young)
                    break
            if not parts:
                del self._rows[key]

    def update(self, most: int) -> int:
        """One update on `n_steps` rows, if there are so many, then imitation; returns the gradient steps done."""
        if most <= 0:
            return 0
        warms_up = self._updates < self.settings.value_warmup_updates
        done = self._update_on_rollout() if self._has_rollout else 0
        if self._imitation is not None:
            done += self._imitation.update(moved=done > 0 and not warms_up)
        self._gradient_steps += done
        return done

    def _update_on_rollout(self) -> int:
        rows = self._collect(self.settings.n_steps)
        normalized = Transitions(
            **{name: getattr(rows, name) for name in rows.__struct_fields__ if name not in ("obs", "next_obs")},
            obs=self._normalize(rows.obs),
            next_obs=self._normalize(rows.next_obs),
        )
        self._freeze_actor(self._updates < self.settings.value_warmup_updates)
        done = self._model.learn_from(normalized)
        self._updates += 1
        return done

    def _collect(self, count: int) -> Transitions:
        """Take `count` rows out, stream by stream in order; what is left over of a stream stays."""
        out: list[Transitions] = []
        for key in list(self._rows):
            parts = self._rows[key]
            while parts and count:
                rows = parts.popleft()
                if len(rows) > count:
                    parts.appendleft(rows.take(slice(count, None)))
                    rows = rows.take(slice(0, count))
                count -= len(rows)
                out.append(rows)
            if not parts:
                del self._rows[key]
            if not count:
                break
        self._waiting -= sum(len(rows) for rows in out)
        return concatenate(out)

    def _freeze_actor(self, frozen: bool) -> None:
        policy = self._model.policy
        extractor = policy.mlp_extractor
        assert isinstance(extractor, th.nn.Module)
        for part in (extractor.policy_net, policy.action_net):
            part.requires_grad_(not frozen)
        policy.log_std.requires_grad_(not frozen)

    def arrays(self) -> dict[str, Array]:
        """Networks and the moments of their optimizer."""
        policy = self._model.policy
        out = {f"policy.{name}": value.detach().numpy() for name, value in policy.state_dict().items()}
        for name, parameter in policy.named_parameters():
            state = policy.optimizer.state[parameter]
            if not state:  # as Adam makes it at its first step
                state["step"] = th.tensor(0.0)
                state["exp_avg"], state["exp_avg_sq"] = th.zeros_like(parameter), th.zeros_like(parameter)
            out[f"adam.{name}.mean"], out[f"adam.{name}.square"] = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()
            out[f"adam.{name}.step"] = state["step"].numpy()
        return out

    def restore(self, arrays: dict[str, Array], gradient_steps: int) -> None:
        """Go on from the arrays of a checkpoint."""
        fill_arrays(self.arrays(), arrays, "the checkpoint")
        if self._imitation is not None:
            self._imitation.forget_moments()
        self._gradient_steps = gradient_steps
        self._updates = self.settings.value_warmup_updates if gradient_steps else 0

    def state(self) -> AlgorithmState:
        """Counters, and the rows that wait for an update."""
        streams = [key for key in self._rows if self._rows[key]]
        numbers = {
            "streams": streams, "version": self._version, "stale": self._stale, "updates": self._updates,
            "n_updates": self._model._n_updates,
        }  # fmt: skip
        arrays: dict[str, NDArray[Any]] = {}
        for i, key in enumerate(streams):
            rows = concatenate(list(self._rows[key]))
            arrays |= {f"{i}.{name}": getattr(rows, name) for name in rows.__struct_fields__}
        return AlgorithmState(numbers, arrays)

    def restore_state(self, state: AlgorithmState) -> None:
        """Go on from a `state()`."""
        numbers = state.numbers
        self._version, self._stale, self._updates = numbers["version"], numbers["stale"], numbers["updates"]
        self._model._n_updates = numbers["n_updates"]
        names = Transitions.__struct_fields__
        self._rows = {
            (robot, boot): deque([Transitions(**{name: state.arrays[f"{i}.{name}"] for name in names})])
            for i, (robot, boot) in enumerate(numbers["streams"])
        }
        self._waiting = sum(len(rows) for parts in self._rows.values() for rows in parts)
