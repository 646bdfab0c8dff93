"""The learning rate falls while explorers succeed at new tasks, and comes back with failures."""

import numpy as np
import pytest

from floop_robot.learn.sac_algorithm import RECENT, SacAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.tasks import get_task

TASK = get_task("floop/Pick-v0").spec
SPACE = PolicySpace.of(TASK)
FULL, SETTLED = 1e-3, 0.25
ROWS = 16


class RateRig:
    def __init__(self) -> None:
        self.algorithm = SacAlgorithm(
            SPACE, SacSettings(learning_rate=FULL, settled_lr_factor=SETTLED, net_arch=(8, 8)), 0
        )
        self.episode = 0
        self.rng = np.random.default_rng(1)

    def episodes(
        self,
        count: int,
        *,
        failed: bool,
        source: Source = Source.EXPLORER,
        is_new: bool = True,
        log_prob: float = 1.0,
    ) -> None:
        for _ in range(count):
            self.episode += 1
            stream = StreamInfo("a", "b", TASK.id, Ids("contract", "limits", "reward"), source)
            rows = self.rows(log_prob, is_new)
            self.algorithm.take(stream, rows, (EndedEpisode(self.episode, failed=failed),))

    def rows(self, log_prob: float, is_new: bool) -> Transitions:
        action = self.rng.uniform(-1, 1, (ROWS, TASK.action.size)).astype(np.float32)
        return Transitions(
            obs=self.rng.normal(size=(ROWS, TASK.observation.size)).astype(np.float32),
            action=action,
            action_requested=action,
            next_obs=self.rng.normal(size=(ROWS, TASK.observation.size)).astype(np.float32),
            reward=np.zeros(ROWS, np.float32),
            terminated=np.zeros(ROWS, np.bool_),
            episode_end=np.zeros(ROWS, np.bool_),
            log_prob=np.full(ROWS, log_prob, np.float32),
            policy_version=np.zeros(ROWS, np.int64),
            stamp_ns=np.zeros(ROWS, np.int64),
            episode=np.full(ROWS, self.episode, np.int64),
            is_new=np.full(ROWS, is_new),
        )

    def rate(self) -> float:
        assert self.algorithm.update(1) == 1
        model = self.algorithm.model
        rates = {group["lr"] for net in (model.actor, model.critic) for group in net.optimizer.param_groups}
        assert len(rates) == 1
        return float(rates.pop())


def test_the_rate_follows_the_share_of_failures() -> None:
    rig = RateRig()
    rig.episodes(RECENT - 1, failed=False)
    assert rig.rate() == FULL, "too few to tell"
    rig.episodes(1, failed=False)
    assert rig.rate() == pytest.approx(SETTLED * FULL)
    rig.episodes(RECENT // 5, failed=True)
    assert rig.rate() == pytest.approx(0.5 * FULL), "half of what counts as losing"
    rig.episodes(RECENT // 2, failed=True)
    assert rig.rate() == FULL


def test_only_what_explorers_sample_of_new_tasks_counts() -> None:
    rig = RateRig()
    rig.episodes(RECENT, failed=True)
    rig.episodes(2 * RECENT, failed=False, is_new=False)
    rig.episodes(2 * RECENT, failed=False, source=Source.ROBOT)
    rig.episodes(2 * RECENT, failed=False, log_prob=np.nan)  # by analogy
    assert rig.rate() == FULL
    rig.episodes(RECENT, failed=False)
    rig.episodes(2 * RECENT, failed=True, source=Source.ROBOT)
    assert rig.rate() == pytest.approx(SETTLED * FULL)
