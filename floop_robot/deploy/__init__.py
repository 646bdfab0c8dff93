"""Registry, operators' commands, roll-out to robots and live monitor."""

from floop_robot.deploy.client import FleetClient
from floop_robot.deploy.commands import (
    AnyCommand,
    AuditNote,
    Command,
    CommandResult,
    Drain,
    FleetCommand,
    Hold,
    Pin,
    Push,
    Resume,
    Rollback,
)
from floop_robot.deploy.deployment_monitor import DeploymentMonitor, MonitorDecision, MonitorReport
from floop_robot.deploy.messages import FleetStatus, Policies, Robots, RobotStatus, SubmissionResult
from floop_robot.deploy.request_handler import FleetRequestHandler
from floop_robot.deploy.request_queue import RequestQueue
from floop_robot.deploy.server import EpisodeFeed, FleetServer, LiveBatch
from floop_robot.deploy.tti import NoImprovement, TimeToImprovement, time_to_improvement
from floop_robot.transport.rpc_client import Refused, Unreachable

__all__ = [
    "AnyCommand",
    "AuditNote",
    "Command",
    "CommandResult",
    "DeploymentMonitor",
    "Drain",
    "EpisodeFeed",
    "FleetClient",
    "FleetCommand",
    "FleetRequestHandler",
    "FleetServer",
    "FleetStatus",
    "Hold",
    "LiveBatch",
    "MonitorDecision",
    "MonitorReport",
    "NoImprovement",
    "Pin",
    "Policies",
    "Push",
    "Refused",
    "RequestQueue",
    "Resume",
    "RobotStatus",
    "Robots",
    "Rollback",
    "SubmissionResult",
    "TimeToImprovement",
    "Unreachable",
    "time_to_improvement",
]
