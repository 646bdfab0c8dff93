"""The nouns of floop, and the loop they make.

    while True:
        transitions = robot.run(policy)                   # robot/    policy → safety limiter → arm, failures included
        journal.append(transitions)                        # stream/   spooled, acknowledged when on disk
        replay.extend(journal.tail())                      # replay/   old worlds stay in half of each batch
        candidate = learner.update(replay)                # learn/    SAC or PPO, paced by arriving data
        verdict = gate.judge(candidate, incumbent)         # gate/     paired PyBullet episodes, sequential test
        if verdict.accepted:
            version = registry.add(candidate, verdict)     # registry/ versions only grow
            receipts = deploy.broadcast(version)          # rollout/  verified, swapped between two control steps
            deploy.monitor(version)                         #           promoted, held, or rolled back by live success

The time from the first failed episode to confirmed live success is the Time-To-Improvement (TTI).
Each noun has one home, re-exported here so that a newcomer finds them in one place.
"""

from __future__ import annotations

from floop_robot.spec.ids import Ids
from floop_robot.spec.records import EpisodeEnd, Event, Label, ObjectReport, Record, Source, StreamInfo, Transition
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.scenario import ObjectSpec, Scenario, ScenarioSource
from floop_robot.spec.task import Judgement, TaskRules, TaskSpec
from floop_robot.spec.verdict import Decision, Verdict

__all__ = [
    "Decision",
    "EpisodeEnd",
    "Event",
    "Ids",
    "Judgement",
    "Label",
    "ObjectReport",
    "ObjectSpec",
    "Record",
    "RobotModel",
    "Scenario",
    "ScenarioSource",
    "Source",
    "StreamInfo",
    "TaskRules",
    "TaskSpec",
    "Transition",
    "Verdict",
]
