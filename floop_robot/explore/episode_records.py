"""A simulated episode as the records that a robot or an explorer reports."""

from __future__ import annotations

from floop_envs.rollout import RolloutResult
from floop_robot.spec.records import ActMode, EpisodeEnd, OutcomeCode, Record, Transition


def episode_records(
    result: RolloutResult, episode: int, version: int, mode: ActMode, stamp_ns: int, tried: tuple[float, ...] = ()
) -> list[Record]:
    """Transitions with their log-densities, then the end; `result` needs its trace, `version` is the acting policy's.

    The simulator's truth stays out. The sink numbers the records.
    """
    rows: list[Record] = [
        Transition(
            seq=0,
            episode=episode,
            step=number,
            stamp_ns=stamp_ns,
            policy_version=version,
            act_mode=mode,
            obs=step.obs,
            action_requested=step.action_requested,
            action=step.action,
            log_prob=step.log_prob,
            reward=step.reward,
            terminated=step.terminated,
            truncated=step.truncated,
            interventions=step.interventions,
        )
        for number, step in enumerate(result.trace)
    ]
    return [*rows, _end(result, episode, version, mode, stamp_ns, tried)]


def _end(
    result: RolloutResult, episode: int, version: int, mode: ActMode, stamp_ns: int, tried: tuple[float, ...]
) -> EpisodeEnd:
    return EpisodeEnd(
        seq=0,
        episode=episode,
        stamp_ns=stamp_ns,
        policy_version=version,
        act_mode=mode,
        steps=result.steps,
        duration_s=result.duration_s,
        total_reward=result.total_reward,
        outcome=OutcomeCode.SUCCESS if result.success else OutcomeCode.TIMEOUT,
        final_obs=result.trace[-1].next_obs,
        object=result.object,
        tried=tried,
    )
