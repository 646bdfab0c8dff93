"""Checkpointer: writes a training while it runs, so that a stop or a crash costs little."""

from __future__ import annotations

import time

from floop_robot.learn.export import save_zip
from floop_robot.spec.errors import BundleRefused, FloopError
from floop_robot.train.run_folder import RunFolder
from floop_robot.train.score import Score
from floop_robot.train.stop_signals import StopSignals
from floop_robot.train.take_log import TakeLog
from floop_robot.train.train_output import PolicyWriter
from floop_robot.train.training_run import TrainingRun
from floop_robot.train.training_state import save_state


class Checkpointer:
    """Policy, state and rows of one run in its folder."""

    def __init__(self, folder: RunFolder, run: TrainingRun, log: TakeLog, stop: StopSignals) -> None:
        self._folder, self._run, self._log, self._stop = folder, run, log, stop
        config = run.config
        self._writer = PolicyWriter(
            task=run.task, ids=run.ids, space=run.space, prior_rows=config.prior_rows, seed=config.seed
        )  # fmt: skip
        self._written_s = time.monotonic()
        self._policy_at = -1

    def at_boundary(self) -> None:
        """Write what is due; raises `KeyboardInterrupt` when a signal came, and `FloopError`."""
        self._stop.raise_if_received()
        if time.monotonic() - self._written_s >= self._run.config.checkpoint_interval_s:
            self.write()

    def write(self) -> None:
        """Write policy and state; raises `StorageError`, or `BundleRefused` when training diverged."""
        with self._stop.held():
            self.write_policy()
            self.write_state()
        self._written_s = time.monotonic()

    def write_state(self) -> None:
        """Write what `--resume` goes on from."""
        self._log.sync()
        save_state(self._folder.state, *self._run.state())

    def write_policy(self) -> None:
        """Write the policy in its three forms, as it is now."""
        run = self._run
        rows = run.counters.transitions + run.counters.demonstrated
        if rows:
            with self._stop.held():
                self._writer.write(self._folder, run.algorithm, run.summary, rows)
                self._folder.result.unlink(missing_ok=True)  # figures of the policy before
            self._policy_at = run.counters.transitions

    def on_measured(self, _: Score, is_best: bool) -> None:
        """Write the best policy by evaluation as it is found."""
        if is_best:
            with self._run.algorithm.averaged_weights():
                save_zip(self._run.algorithm.model, self._run.space, self._folder.best_model)

    def keep(self) -> str:
        """Write what was learned, if it can be used; returns what was kept, in words. A second signal waits."""
        with self._stop.held():
            return self._keep()

    def _keep(self) -> str:
        run, failed = self._run, ""
        try:
            if not run.is_between:
                self.write_policy()
            else:
                self.write()
        except BundleRefused:
            failed = ""  # weights that are not finite: what was written before stays
        except FloopError as error:
            failed = f" ({error})"
        if self._policy_at < 0:
            earlier = f"the policy in {self._folder.path} is that of before"
            return f"{earlier if self._folder.bundle.exists() else 'nothing was kept'}{failed}"
        kept = f"the policy of {self._policy_at} steps is in {self._folder.path}{failed}"
        if self._folder.state.exists():
            kept += f"; go on with floop train --resume {self._folder.path}"
        return kept
