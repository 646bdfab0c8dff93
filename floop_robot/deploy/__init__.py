"""Bundles to robots, watched live."""

from floop_robot.deploy.client import FleetClient, FleetRefused, FleetUnreachable
from floop_robot.deploy.request_handler import Fleet
from floop_robot.deploy.messages import FleetStatus, Policies, Robots, RobotStatus, Submitted
from floop_robot.deploy.commands import Call, Done, Drain, Hold, Order, Pin, Push, Remark, Resume, Rollback
from floop_robot.robot.policy_updater import PolicyReceiver, PolicySlots, ReceiverConfig, RobotWork
from floop_robot.deploy.server import EpisodeFeed, FleetServer, SeenBatch
from floop_robot.deploy.tti import NoImprovement, TimeToImprovement, time_to_improvement
from floop_robot.deploy.deployment_monitor import LiveWatch, WatchDecision, WatchReport

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
