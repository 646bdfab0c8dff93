"""Bundles to robots, watched live."""

from floop_robot.rollout.client import FleetClient, FleetRefused, FleetUnreachable
from floop_robot.rollout.fleet import Fleet
from floop_robot.rollout.messages import FleetStatus, Policies, Robots, RobotStatus, Submitted
from floop_robot.rollout.orders import Call, Done, Drain, Hold, Order, Pin, Push, Remark, Resume, Rollback
from floop_robot.rollout.receiver import PolicyReceiver, PolicySlots, ReceiverConfig, RobotWork
from floop_robot.rollout.server import EpisodeFeed, FleetServer, SeenBatch
from floop_robot.rollout.tti import NoImprovement, TimeToImprovement, time_to_improvement
from floop_robot.rollout.watch import LiveWatch, WatchDecision, WatchReport

__all__ = [
    "Call",
    "Done",
    "Drain",
    "EpisodeFeed",
    "Fleet",
    "FleetClient",
    "FleetRefused",
    "FleetServer",
    "FleetStatus",
    "FleetUnreachable",
    "Hold",
    "LiveWatch",
    "NoImprovement",
    "Order",
    "Pin",
    "Policies",
    "PolicyReceiver",
    "PolicySlots",
    "Push",
    "ReceiverConfig",
    "Remark",
    "Resume",
    "RobotStatus",
    "RobotWork",
    "Robots",
    "Rollback",
    "SeenBatch",
    "Submitted",
    "TimeToImprovement",
    "WatchDecision",
    "WatchReport",
    "time_to_improvement",
]
