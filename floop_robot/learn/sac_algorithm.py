"""SacAlgorithm: learns from executed actions, with a part of each batch from known tasks."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from floop_robot.learn.algorithm import AlgorithmState, TrainingProgress
from floop_robot.learn.checkpoint import fill_arrays
from floop_robot.learn.factory import build_sac
from floop_robot.learn.mlp import Array
from floop_robot.learn.sac import FloopSAC
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.default_settings import TASK_SAC
from floop_robot.spec.hyperparameters import ENOUGH_ROWS, SacSettings
from floop_robot.spec.records import Source, StreamInfo

AVERAGE_STRIDE = 8
"""Gradient steps between two looks at the weights for their average."""
RECENT = 20
"""Latest episodes of new tasks that explorers sampled from the policy. Their failures set the learning rate."""
LOSING = 0.4
"""Share of failures among them from which the learning rate is the full one."""


class SacAlgorithm:
    """A `FloopSAC` with its `RlpdReplayBuffer`, and a running average of its actor.

    At learning rates that recover fast, weights are noisy from step to step. Their average is the better policy.
    """

    def __init__(
        self,
        space: PolicySpace,
        settings: SacSettings,
        seed: int,
        device: str = "cpu",
        enough_rows: int = ENOUGH_ROWS,
    ) -> None:
        """`device`: torch's name of where gradient steps are computed. `enough_rows`: those before the first of them.

        Unset fields are as for floop's own tasks.
        """
        self.settings = settings.over(TASK_SAC)
        self._model, self.replay = build_sac(space, self.settings, seed)
        self._model.update_device = device
        self._numpy = self._model.numpy_parameters()
        self._average: Array = self._numpy.actor.params.copy()
        self._gradient_steps = 0
        self._enough_rows = min(enough_rows, self.settings.buffer_size)  # more are never there
        self._failures: deque[bool] = deque(maxlen=RECENT)

    @property
    def model(self) -> FloopSAC:
        """The model that is trained."""
        return self._model

    @property
    def algo(self) -> str:
        """Name of the algorithm."""
        return "sac"

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return self.settings.net_arch

    @property
    def progress(self) -> TrainingProgress:
        """Where training stands."""
        rows = {"prior_rows": len(self.replay.prior), "new_rows": len(self.replay.online)}
        losses = self._model.last_losses
        if losses is None:
            return TrainingProgress(gradient_steps=self._gradient_steps, **rows)
        return TrainingProgress(
            gradient_steps=self._gradient_steps,
            actor_loss=losses.actor,
            critic_loss=losses.critic,
            alpha=losses.alpha,
            entropy=losses.entropy,
            **rows,
        )

    def take(self, stream: StreamInfo, rows: Transitions | None, ended: Sequence[EndedEpisode] = ()) -> float:
        """Store rows; those of new tasks pay for more updates."""
        worth = 0.0
        if rows is not None:
            for is_new, price in ((False, self.settings.utd_ratio_known), (True, self.settings.utd_ratio)):
                chosen = np.flatnonzero(rows.is_new == is_new)
                if len(chosen):
                    self.replay.extend(stream.robot, rows.take(chosen), prior=not is_new, boot_id=stream.boot_id)
                    worth += price * len(chosen)
        for end in ended:
            is_new = self.replay.close_episode(stream.robot, stream.boot_id, end.episode, failed=end.failed)
            if is_new and rows is not None and stream.source is Source.EXPLORER and _was_sampled(rows, end.episode):
                self._failures.append(end.failed)
        return worth

    @property
    def ready(self) -> bool:
        """Whether there are enough rows to draw from."""
        return self.replay.size() >= self._enough_rows

    def update(self, most: int) -> int:
        """Do `most` gradient steps, once there are enough rows."""
        if not self.ready or most <= 0:
            return 0
        self._model.lr_factor = self._lr_factor()
        done = 0
        while done < most:  # the average follows in small strides, which costs less than after each step
            stride = min(AVERAGE_STRIDE, most - done)
            self._model.train(stride, self.settings.batch_size)
            self._follow(stride)
            done += stride
        self._gradient_steps += done
        return done

    def _lr_factor(self) -> float:
        if len(self._failures) < RECENT:
            return 1.0
        return max(self.settings.settled_lr_factor, min(1.0, sum(self._failures) / (LOSING * RECENT)))

    def _follow(self, steps: int) -> None:
        actor = self._model.numpy_parameters().actor.params
        share = 1.0 - (1.0 - 1.0 / self.settings.average_steps) ** steps
        # At first it is the mean of all steps so far: the initial weights are random.
        self._average += np.float32(max(share, steps / (self._gradient_steps + steps))) * (actor - self._average)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within it, the model's actor is the averaged one."""
        actor = self._model.numpy_parameters().actor.params
        live = actor.copy()
        actor[:] = self._average
        try:
            yield
        finally:
            actor[:] = live

    def on_weights_published(self, version: int) -> None:
        """SAC learns from any acting policy: nothing to do."""

    def arrays(self) -> dict[str, Array]:
        """Networks, targets, temperature and the moments of their optimizers."""
        p = self._numpy = self._model.numpy_parameters()
        adams = {"actor": p.actor_adam, "critic": p.critic_adam, "alpha": p.alpha_adam}
        out = {"actor": p.actor.params, "critic": p.critic.params, "target": p.target.params, "log_alpha": p.log_alpha}
        out["average"] = self._average
        for name, adam in adams.items():
            out[f"{name}.mean"], out[f"{name}.square"] = adam.mean, adam.square
            out[f"{name}.steps"] = np.array([adam.steps], np.float32)
        return out

    def restore(self, arrays: dict[str, Array], gradient_steps: int) -> None:
        """Go on from the arrays of a checkpoint."""
        targets = self.arrays()
        fill_arrays(targets, arrays, "the checkpoint")
        p = self._numpy
        for name, adam in (("actor", p.actor_adam), ("critic", p.critic_adam), ("alpha", p.alpha_adam)):
            adam.steps = int(targets[f"{name}.steps"][0])
        self._model.publish_optimizer_steps()
        self._gradient_steps = gradient_steps

    def state(self) -> AlgorithmState:
        """Counters, and the generator that draws batches."""
        generator = json.dumps(self.replay.rng.bit_generator.state)  # its numbers have 128 bits
        failures = list(self._failures)
        return AlgorithmState({"failures": failures, "n_updates": self._model._n_updates, "generator": generator})

    def restore_state(self, state: AlgorithmState) -> None:
        """Go on from a `state()`."""
        self._failures = deque(state.numbers["failures"], maxlen=RECENT)
        self._model._n_updates = state.numbers["n_updates"]
        self.replay.rng.bit_generator.state = json.loads(state.numbers["generator"])


def _was_sampled(rows: Transitions, episode: int) -> bool:
    """Whether the episode's actions were sampled from the policy that is being learned.

    An analogy (its density is unknown) tells nothing of the policy itself.
    """
    return bool(np.isfinite(rows.log_prob[rows.episode == episode]).any())
