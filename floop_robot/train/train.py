"""`floop train`: from nothing, or from demonstrations, to a policy; one process with a simulating helper, no sockets.

Environment, learner, export and scenarios are those of the fleet. Which weights are kept is decided on scenarios of
their own; the reported success is measured once, afterwards, on others.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from floop_envs.seeds import Purpose
from floop_robot.bundle import Normalisation, write_atomic
from floop_robot.learn.behavior_cloning import clone_into
from floop_robot.learn.export import actor_architecture
from floop_robot.learn.mlp import Array
from floop_robot.learn.utd_budget import Pace
from floop_robot.learn.ppo_algorithm import PpoTrainee
from floop_robot.learn.sac_algorithm import SacTrainee
from floop_robot.learn.settings import CloneSettings, PpoSettings, SacSettings
from floop_robot.learn.spaces import PolicySpace
from floop_robot.learn.algorithm import Trainee
from floop_robot.train.collector import ActorSpec, Collector, EpisodeRequest, answer, range_of, successes
from floop_robot.train.tensorboard_writer import FOLDER, Curves
from floop_robot.train.train_env import Episode, Ground, GroundSpec, no_demonstrations
from floop_robot.train.train_output import Score, Seen, TrainResult, Writer, alone_in, save_result, score_of
from floop_robot.replay.transition_builder import Arrived, Ended
from floop_robot.replay.transitions import Rows
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.records import Source

RECENT = 40
"""Training episodes whose success says whether measuring on the selection scenarios is worth its time."""
FAST_ENOUGH = 0.79
"""SAC with demonstrations goes on until picks take this share of the cloned policy's time (or data runs out)."""

MARGIN = 1.65
"""Standard errors of the selection above what is asked for: what to reach before it is confirmed."""
CONFIRMING = 3
"""What seems good enough is measured on so many times `selection_episodes` new scenarios …"""
CONFIRMED = 2.0
"""… and must be so many standard errors above what is asked for, those of this measurement and the final one together:
the final figure seldom falls below it."""


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything `floop train` needs; a recipe is one of these as YAML."""

    task: str = "floop/Pick-v0"
    env: str = ""
    """A Gymnasium id that takes the place of the task."""
    algo: str = "sac"
    demonstrations: int = 0
    seed: int = 0
    until_success: float = 0.95
    out: str = "runs/train"
    max_transitions: int = 40_000
    episodes_per_batch: int = 1
    """Episodes made with the same weights, while gradients of the batch before are computed."""
    learning_starts: int = 500
    """Transitions before the first gradient step."""
    selection_episodes: int = 100
    select_every: int = 500
    """Transitions between two measurements on the selection scenarios, once training episodes go well."""
    final_episodes: int = 200
    prior_rows: int = 4000
    """Training rows that travel with the checkpoint, as old work for a learner that goes on from it."""
    randomise: bool = False
    """Vary what can't be perceived (friction, mass, delay, calibration) from training episode to training episode."""
    tensorboard: bool = False
    """Write curves for TensorBoard to `out`/tensorboard."""
    sac: SacSettings = msgspec.field(default_factory=SacSettings)
    ppo: PpoSettings = msgspec.field(default_factory=PpoSettings)
    clone: CloneSettings = msgspec.field(default_factory=CloneSettings)


class TrainProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown while training."""

    phase: str
    transitions: int = 0
    max_transitions: int = 0
    gradient_steps: int = 0
    recent_success: float = math.nan
    recent_return: float = math.nan
    selection_success: float = math.nan
    selection_time_s: float = math.nan
    elapsed_s: float = 0.0


Watch = Callable[[TrainProgress], None]


def train(config: TrainConfig, watch: Watch = lambda _: None) -> TrainResult:
    """Train as `config` says and leave model.zip, policy bundle, checkpoint and effective config in `config.out`.

    Raises a `FloopError` for anything a user can mend (unknown task, no write permission, …).
    """
    started = time.monotonic()
    spec = GroundSpec(config.task, config.env, config.seed, config.randomise)
    spec.describe()  # raises for an unknown task or an unfit environment, before anything is written or started
    _check(config)
    out = Path(config.out)
    with alone_in(out), ExitStack() as stack:
        collector = stack.enter_context(Collector(spec))
        run = _Run(config, spec, collector, watch, started)
        if config.tensorboard:
            run.watches.append(stack.enter_context(Curves(out / FOLDER, run.trainee.model)).draw)
        run.demonstrate()
        run.learn()
        result = run.finish(out)
        # With what was made with it: a run that is stopped leaves the folder as it was.
        write_atomic(out / "config.yaml", msgspec.yaml.encode(config))
        return result


def _check(config: TrainConfig) -> None:
    if config.algo not in ("sac", "ppo"):
        raise ConfigError(f"algo is {config.algo!r}; use sac or ppo")
    if config.env and config.demonstrations:
        raise no_demonstrations(config.env)
    if not 0.0 < config.until_success <= 1.0:
        raise ConfigError(f"until_success is {config.until_success}; use a share above 0 and at most 1")


class _Run:
    """One training run: the loop of acting, learning and selecting."""

    def __init__(
        self, config: TrainConfig, spec: GroundSpec, collector: Collector, watch: Watch, started: float
    ) -> None:
        self.config, self.spec, self.collector, self._started = config, spec, collector, started
        self.watches = [watch]
        self.task, self.ids, self.tells_success = spec.describe()
        self.space = PolicySpace.of(self.task)
        self.trainee = self._make_trainee()
        self.normalisation = Normalisation(
            tuple(self.task.observation.offset.tolist()), tuple(self.task.observation.scale.tolist())
        )
        self.transitions = self.demonstrated = self._next_index = 0
        self._version = self._published_steps = 0
        self._pace = Pace(math.inf)
        self._recent: deque[Episode] = deque(maxlen=RECENT)
        self._seen = Seen(self.task.observation.size)
        self._cloned: ActorSpec | None = None
        self._cloned_score: Score | None = None
        self._looked_at = self.config.selection_episodes
        """Selection scenarios used so far; those beyond are new."""
        self._best: tuple[Score, dict[str, Array]] | None = None

    def _make_trainee(self) -> Trainee:
        config = self.config
        if config.algo == "ppo":
            return PpoTrainee(self.space, config.ppo, config.seed, staleness_versions=2)
        sac = config.sac
        if config.env and sac == SacSettings():  # the defaults know the scale of floop's own tasks
            sac = SacSettings(value_range=None, reward_scale=1.0, initial_alpha=1.0, gamma=0.98)
        if not config.demonstrations:  # nothing prior to draw from: everything is fresh
            sac = msgspec.structs.replace(sac, prior_fraction=0.0)
        return SacTrainee(self.space, sac, config.seed)

    def demonstrate(self) -> None:
        """Have the expert show `demonstrations` successes; clone them."""
        wanted = self.config.demonstrations
        shown: list[Rows] = []
        index = 0
        while len(shown) < wanted:
            if index > 4 * wanted + 20:
                raise ConfigError(f"only {len(shown)} of {index} demonstrations of {self.task.id} succeed")
            self._say("demonstrations", transitions=len(shown))
            request = EpisodeRequest(None, Purpose.DEMONSTRATION, range_of(index, wanted - len(shown)), sample=True)
            index += len(request.indices)
            shown += [episode.rows for episode in self.collector.make(request) if episode.success]
        if not shown:
            return
        for i, rows in enumerate(shown):
            self._take("demonstrator", rows, i, success=True, demonstration=True)
        self.demonstrated = sum(map(len, shown))
        observations = self.space.normaliser(np.concatenate([rows.obs for rows in shown]))
        actions = np.concatenate([rows.action for rows in shown])
        before = {name: array.copy() for name, array in self.trainee.arrays().items()}
        clone_into(self.trainee.model, observations, actions, self.config.clone)
        self._cloned = self._actor()
        if self.config.algo == "sac":  # a cloned actor before untrained critics is unlearned at once
            self.trainee.restore(before, 0)
        self._say("behaviour cloning")
        self._cloned_score = self._look(self._cloned, range_of(0, self.config.selection_episodes))

    def learn(self) -> None:
        """Act, learn and select until it is good enough or the data is used up."""
        config = self.config
        selected_at = 0
        self._ask()
        while self.transitions < config.max_transitions:
            self._improve()
            version = self._version
            for episode in self.collector.receive():
                self._collected(episode, version)
            good = self._worth_measuring() and self.transitions - selected_at >= config.select_every
            if good or self.transitions >= config.max_transitions:
                selected_at = self.transitions
                if self._select():
                    break
            self._ask()
            self._say("learning")
        if self._best is not None:
            self.trainee.restore(self._best[1], self.trainee.progress.gradient_steps)

    def _ask(self) -> None:
        count = self.config.episodes_per_batch
        indices = range_of(self._next_index, count)
        self._next_index += count
        if self.trainee.progress.gradient_steps != self._published_steps:
            self._published_steps = self.trainee.progress.gradient_steps
            self._version += 1
            self.trainee.published(self._version)
        self.collector.ask(EpisodeRequest(self._actor(), Purpose.TRAINING, indices, sample=True))

    def _collected(self, episode: Episode, version: int) -> None:
        rows = episode.rows
        rows = msgspec.structs.replace(rows, policy_version=np.full(len(rows), version, np.int64))
        self._recent.append(episode)
        self.transitions += len(rows)
        self._take("explorer", rows, int(rows.episode[0]), success=episode.success, demonstration=False)

    def _take(self, who: str, rows: Rows, episode: int, *, success: bool, demonstration: bool) -> None:
        self._seen.take(rows)
        arrived = Arrived(
            robot=who,
            boot_id="train",
            source=Source.DEMONSTRATION if demonstration else Source.EXPLORER,
            rows=rows,
            fresh=np.full(len(rows), not demonstration),
            ended=(Ended(episode, failed=not success),),
        )
        worth = self.trainee.take(arrived)
        # The first rows are too few to draw half of every batch from: learning from them alone leads astray.
        if not demonstration and self.transitions >= self.config.learning_starts:
            self._pace.pay(worth)

    def _improve(self) -> None:
        while self._pace.owed and self.trainee.ready:
            self._pace.draw(self.trainee.improve(self._pace.owed))

    def _worth_measuring(self) -> bool:
        if not self.tells_success:
            return False
        # Exploring costs some success: what is sampled here is measured without noise there.
        enough = len(self._recent) == RECENT
        return enough and successes(list(self._recent)) >= RECENT * (self.config.until_success - 0.1)

    def _select(self) -> bool:
        """Measure on the selection scenarios and remember the best weights; returns whether to stop."""
        self._say("selecting")
        with self.trainee.presentable():
            actor = self._actor()
        config = self.config
        score = self._look(actor, range_of(0, config.selection_episodes))
        if self._suffices(score, self._goal()):
            # The best of many looks at the same scenarios flatters: it has to show as much on many new ones.
            count = CONFIRMING * config.selection_episodes
            score = self._look(actor, range_of(self._looked_at, count))
            self._looked_at += count
            done = self._suffices(score, self._goal(count))
        else:
            done = False
        if self._best is None or _better(score, self._best[0], self._goal()):
            self._best = score, {name: array.copy() for name, array in self.trainee.arrays().items()}
        return done

    def _suffices(self, score: Score, goal: float) -> bool:
        return self.tells_success and score.success >= goal and self._fast(score)

    def _goal(self, confirming: int = 0) -> float:
        """Success to reach on the selection scenarios, or on `confirming` new ones."""
        p, shown = self.config.until_success, self.config.selection_episodes
        if confirming:
            goal = p + CONFIRMED * math.hypot(
                _standard_error(p, confirming), _standard_error(p, self.config.final_episodes)
            )
        else:
            goal = p + MARGIN * _standard_error(p, shown)
        if self._cloned_score is not None:  # being faster is no excuse for failing more often than the demonstrations
            p = (shown * self._cloned_score.success + 1.0) / (shown + 2.0)  # Laplace: 100 of 100 is not certainty
            goal = max(goal, p - _standard_error(p, shown))
        return min(goal, 1.0)

    def _fast(self, score: Score) -> bool:
        cloned = self._cloned_score
        if self.config.algo == "ppo" or cloned is None or cloned.time_s is None or score.time_s is None:
            return True
        return score.time_s <= FAST_ENOUGH * cloned.time_s

    def _look(self, actor: ActorSpec, indices: tuple[int, ...]) -> Score:
        """Measure on selection scenarios, half of them here and half in the other process."""
        self.collector.ask(EpisodeRequest(actor, Purpose.SELECTION, indices[1::2], sample=False))
        here = answer(self._ground, EpisodeRequest(actor, Purpose.SELECTION, indices[::2], sample=False))
        return score_of(here + self.collector.receive())

    @cached_property
    def _ground(self) -> Ground:
        """A simulation in this process."""
        return self.spec.make()

    def _actor(self) -> ActorSpec:
        architecture, tensors = actor_architecture(self.trainee.model)
        return ActorSpec(architecture, self.normalisation, tensors)

    def finish(self, out: Path) -> TrainResult:
        """Measure once on the final scenarios and write everything."""
        self._say("final scenarios")
        numbers = range_of(0, self.config.final_episodes)
        with self.trainee.presentable():
            actor = self._actor()
        self.collector.ask(EpisodeRequest(actor, Purpose.REPORT, numbers, sample=False))
        cloned = None
        if self._cloned is not None:  # measured here, while the other process measures the trained policy
            cloned = score_of(answer(self._ground, EpisodeRequest(self._cloned, Purpose.REPORT, numbers, False)))
        score = score_of(self.collector.receive())
        config = self.config
        writer = Writer(
            task=self.task, ids=self.ids, space=self.space, prior_rows=config.prior_rows, seed=config.seed
        )  # fmt: skip
        paths = writer.write(out, self.trainee, self._seen, self.transitions + self.demonstrated)
        tells = self.tells_success
        result = TrainResult(
            success=score.success if tells else None,
            mean_pick_time_s=score.time_s if tells else None,
            bc_success=cloned.success if cloned else None,
            bc_pick_time_s=cloned.time_s if cloned else None,
            mean_return=score.mean_return,
            selection_success=self._best[0].success if self._best and tells else None,
            transitions=self.transitions,
            demonstration_transitions=self.demonstrated,
            gradient_steps=self.trainee.progress.gradient_steps,
            wall_s=time.monotonic() - self._started,
            model=str(paths.model),
            bundle=str(paths.bundle),
            checkpoint=str(paths.checkpoint),
        )
        save_result(result, out)
        return result

    def _say(self, phase: str, transitions: int | None = None) -> None:
        recent, best = list(self._recent), self._best[0] if self._best else None
        progress = TrainProgress(
            phase=phase,
            transitions=self.transitions if transitions is None else transitions,
            max_transitions=self.config.max_transitions,
            gradient_steps=self.trainee.progress.gradient_steps,
            recent_success=successes(recent) / len(recent) if recent and self.tells_success else math.nan,
            recent_return=float(np.mean([e.total_reward for e in recent])) if recent else math.nan,
            selection_success=best.success if best else math.nan,
            selection_time_s=best.time_s or math.nan if best else math.nan,
            elapsed_s=time.monotonic() - self._started,
        )
        for watch in self.watches:
            watch(progress)


def _standard_error(p: float, count: int) -> float:
    return math.sqrt(p * (1.0 - p) / count)


def _better(new: Score, old: Score, enough: float) -> bool:
    """More success, up to what is asked for; among those with enough, the faster."""
    if min(new.success, old.success) >= enough:
        return (new.time_s or math.inf) < (old.time_s or math.inf)
    return (new.success, new.mean_return) > (old.success, old.mean_return)
