"""InProcessExecutor: episodes in the caller's own thread."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from concurrent.futures import Future

from floop_robot.core import EpisodeJob, EpisodeOutcome
from floop_robot.gate.interfaces import MAX_LOADED_POLICIES, EpisodeFailed, EpisodeRunner


class InProcessExecutor:
    """Runs each job at once in the caller's thread, for one process (`floop_robot/loop.py`, `floop validate`)."""

    width = 1

    def __init__(self, runner: EpisodeRunner) -> None:
        self._runner = runner
        self._known: collections.OrderedDict[str, None] = collections.OrderedDict()

    def add_policy(self, policy: str, bundle: bytes) -> None:
        """Make a policy known; raises `BundleRefused` when its bytes are unfit."""
        if policy not in self._known:
            self._runner.load(policy, bundle)
            self._known[policy] = None
            if len(self._known) > MAX_LOADED_POLICIES:
                self._runner.forget(self._known.popitem(last=False)[0])
        self._known.move_to_end(policy)

    def submit(self, jobs: Sequence[EpisodeJob]) -> list[Future[EpisodeOutcome]]:
        """Run the jobs now; the futures are done."""
        futures: list[Future[EpisodeOutcome]] = []
        for job in jobs:
            future: Future[EpisodeOutcome] = Future()
            try:
                future.set_result(self._runner.run(job))
            except Exception as error:
                failed = EpisodeFailed(f"{type(error).__name__}: {error}")
                failed.__cause__ = error
                future.set_exception(failed)
            futures.append(future)
        return futures

    def close(self) -> None:
        """Close the simulator."""
        self._runner.close()
