"""Time-To-Improvement (TTI): from the first failure on shifted tasks to confirmed live success.

All stamps are wall time at the fleet manager. How long the gate judged is a duration that the gate measured.

The fix is the first version that all robots acted on and whose live success on shifted tasks is confirmed: the
anytime-valid lower bound (1 − α) of its weights' production episodes on shifted tasks is at least `confirm_success`.
Each stage ends where the next begins, so they add up to `tti_s`:

* `lesson`: first failed shifted episode → gate starts on the first candidate whose training data held it
* `improve`: → gate starts on the candidate that fixes it (0 when it is the same)
* `gate`: → its verdict arrives
* `publish`: → it is published (it may have to wait for the version under watch)
* `apply`: → last robot's receipt of a first control step on these weights (`tti_apply_s` ends here)
* `confirm`: → live success on shifted tasks is confirmed, and every robot acts on it

`best_improvement` makes do with less where nothing was confirmed. `shown_success` tells for several bounds when one
version's own episodes showed them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import msgspec

from floop_robot.bundle.delivery import InstallStage
from floop_robot.deploy.deployment_monitor import Tally
from floop_robot.deploy.registry import History, LiveEpisode, Origin, VersionInfo
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.records import OutcomeCode
from floop_robot.stats.intervals import anytime_lower_bound
from floop_robot.stats.sequential_tests import is_shown_above

IMPROVED_SUCCESS = 0.6
"""Where no version was confirmed, one that showed this counts as the improvement. Some tasks can't be done at 80 %."""
SHOWN_BOUNDS = (0.6, 0.7, 0.8, 0.9)
"""Bounds that `shown_success` reports."""
STAGES = ("lesson", "improve", "gate", "publish", "apply", "confirm")


class TimeToImprovement(msgspec.Struct, frozen=True, kw_only=True):
    """How long the fleet took to improve, stage by stage."""

    fix_version: int
    tti_s: float
    tti_apply_s: float
    stages_s: dict[str, float]
    """By name, in the order of `STAGES`; they add up to `tti_s`."""
    episodes: Tally
    """Shifted production episodes on the fix, up to its confirmation."""
    bound: float
    """Lower bound of success that had to be shown."""
    lower_bound: float
    """The lower bound that was shown, at the confirmation."""
    robots: tuple[str, ...]
    """Robots that had to act on it."""
    first_failure_ns: int


class NoImprovement(msgspec.Struct, frozen=True):
    """Why there is no TTI."""

    reason: str


def time_to_improvement(
    history: History, shifted: Callable[[LiveEpisode], bool], robots: Sequence[str], config: DeployConfig
) -> TimeToImprovement | NoImprovement:
    """Find the fix and measure each stage. `shifted`: was it a shifted task? All `robots` must act on the fix."""
    tasks = _production(history, shifted)
    first = _first_failure(tasks)
    if first is None:
        return NoImprovement("no robot failed on shifted tasks")
    later = _later_versions(history, tasks, first)
    unfinished = NoImprovement("no version's live success on shifted tasks was confirmed")
    for sha256, confirmed_ns, tally in _confirmations(history, tasks, later, config.confirm_success, config.alpha):
        fix = next(v for v in later if v.sha256 == sha256)
        acting = _acting_ns(history, sha256, fix.published_ns)
        if not (missing := sorted(set(robots) - set(acting))):
            return _improvement(history, first, fix, acting, (confirmed_ns, tally), robots, config)
        # A better one may have replaced it before its robots were through.
        unfinished = NoImprovement(f"v{fix.version} was confirmed, but {', '.join(missing)} never acted on it")
    return unfinished


def best_improvement(
    history: History, shifted: Callable[[LiveEpisode], bool], robots: Sequence[str], config: DeployConfig
) -> TimeToImprovement | NoImprovement:
    """Find the confirmed fix; where no version was confirmed, the first that showed `IMPROVED_SUCCESS`."""
    confirmed = time_to_improvement(history, shifted, robots, config)
    if isinstance(confirmed, TimeToImprovement):
        return confirmed
    lower = msgspec.structs.replace(config, confirm_success=min(IMPROVED_SUCCESS, config.confirm_success))
    return time_to_improvement(history, shifted, robots, lower)


def shown_success(history: History, shifted: Callable[[LiveEpisode], bool], alpha: float) -> dict[str, float | None]:
    """Seconds from the first failure until one version's own episodes showed each of `SHOWN_BOUNDS`; None: not shown.

    Shown means that the anytime-valid lower bound (1 − alpha) of its success on shifted tasks has reached it.
    """
    tasks = _production(history, shifted)
    first = _first_failure(tasks)
    out: dict[str, float | None] = {f"{bound:g}": None for bound in SHOWN_BOUNDS}
    if first is None:
        return out
    later = _later_versions(history, tasks, first)
    for bound in SHOWN_BOUNDS:
        confirmation = next(_confirmations(history, tasks, later, bound, alpha), None)
        if confirmation is not None:
            out[f"{bound:g}"] = (confirmation[1] - first.observed_ns) * 1e-9
    return out


def _production(history: History, shifted: Callable[[LiveEpisode], bool]) -> list[LiveEpisode]:
    return [e for e in history.episodes if e.production and shifted(e)]


def _first_failure(tasks: Sequence[LiveEpisode]) -> LiveEpisode | None:
    return next((e for e in tasks if e.outcome is not OutcomeCode.SUCCESS), None)


def _later_versions(history: History, tasks: Sequence[LiveEpisode], first: LiveEpisode) -> list[VersionInfo]:
    """Versions published since the first failure, with weights that no robot acted on before."""
    weights = {v.version: v.sha256 for v in history.versions}
    acted = {weights.get(e.version) for e in tasks if e.observed_ns <= first.observed_ns}
    return [v for v in history.versions if v.published_ns >= first.observed_ns and v.sha256 not in acted]


def _improvement(
    history: History,
    first: LiveEpisode,
    fix: VersionInfo,
    acting: dict[str, int],
    confirmation: tuple[int, Tally],
    robots: Sequence[str],
    config: DeployConfig,
) -> TimeToImprovement:
    confirmed_ns, tally = confirmation
    applied_ns = max(acting[robot] for robot in robots)
    marks = _marks(history, first, fix, applied_ns, max(confirmed_ns, applied_ns))
    stages = {name: (end - begin) * 1e-9 for name, (begin, end) in zip(STAGES, pairwise(marks), strict=True)}
    return TimeToImprovement(
        fix_version=fix.version,
        tti_s=(marks[-1] - marks[0]) * 1e-9,
        tti_apply_s=(applied_ns - marks[0]) * 1e-9,
        stages_s=stages,
        episodes=tally,
        bound=config.confirm_success,
        lower_bound=anytime_lower_bound(tally.successes, tally.episodes, config.alpha),
        robots=tuple(robots),
        first_failure_ns=first.observed_ns,
    )


def _confirmations(
    history: History, episodes: Sequence[LiveEpisode], versions: Sequence[VersionInfo], bound: float, alpha: float
) -> Iterator[tuple[str, int, Tally]]:
    """Weights, time and counts of each of these `versions` that showed `bound`, in their order."""
    weights = {v.version: v.sha256 for v in history.versions}
    eligible = {v.sha256 for v in versions}
    tallies: dict[str, Tally] = {}
    confirmed: set[str] = set()
    for episode in episodes:
        sha256 = weights.get(episode.version, "")
        if sha256 not in eligible or sha256 in confirmed:
            continue
        tally = tallies.get(sha256, Tally()).plus(episode.outcome is OutcomeCode.SUCCESS)
        tallies[sha256] = tally
        if is_shown_above(tally.successes, tally.episodes, bound, alpha):
            confirmed.add(sha256)
            yield sha256, episode.observed_ns, tally


def _acting_ns(history: History, sha256: str, since_ns: int) -> dict[str, int]:
    """When each robot's first control step on these weights was receipted."""
    same = {v.version for v in history.versions if v.sha256 == sha256 and v.published_ns >= since_ns}
    out: dict[str, int] = {}
    for stored in history.receipts:
        if stored.receipt.stage is InstallStage.ACTING and stored.receipt.version in same:
            out.setdefault(stored.receipt.robot, stored.stamp_ns)
    return out


def _marks(history: History, first: LiveEpisode, fix: VersionInfo, applied_ns: int, confirmed_ns: int) -> list[int]:
    """Start of the first stage and end of each; never decreasing."""
    gate_ns = fix.decided_ns - round(fix.gate_s * 1e9)
    gate_starts = [
        c.received_ns - round(c.verdict.duration_s * 1e9) for c in history.candidates if c.journal_to >= first.block
    ]
    if fix.origin is Origin.GATE:
        gate_starts.append(gate_ns)
    marks = [first.observed_ns, min(gate_starts, default=gate_ns), gate_ns, fix.decided_ns, fix.published_ns]
    marks += [applied_ns, confirmed_ns]
    marks[1] = min(marks[1], gate_ns)
    for i in range(1, len(marks)):
        marks[i] = max(marks[i], marks[i - 1])
    return marks
