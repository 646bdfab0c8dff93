"""A registry that was restored from a copy: robots know versions that it does not, and it goes on beyond them."""

from __future__ import annotations

from floop_robot.bundle.delivery import Heartbeat
from floop_robot.deploy.deployment_controller import MANAGER_NAME, DeploymentController
from floop_robot.deploy.registry import Origin

MAX_GROWTH = 1_000_000
"""A robot's word makes numbers grow by so much at most: they must last."""


def outgrow(controller: DeploymentController, beat: Heartbeat, now_ns: int) -> str:
    """When a robot knows a newer version or epoch, or another policy of this number, go on beyond; why, in words.

    What is in production gets a number that no robot has seen.
    """
    registry, newest = controller.registry, controller.newest
    known = controller.weights_of(beat.version)
    is_other = bool(beat.sha256 and known) and beat.sha256 != known and beat.version >= controller.production
    if not controller.production or not (beat.version > newest or beat.epoch > registry.epoch or is_other):
        return ""
    if max(beat.version - newest, beat.epoch - registry.epoch) > MAX_GROWTH:
        return f"{beat.robot} reports v{beat.version} of epoch {beat.epoch}, which no registry has reached; ignored"
    what = "other bytes" if is_other else "a version that this registry does not know"
    registry.grow(beat.epoch, beat.version)
    was = controller.production
    why = f"{beat.robot} has v{beat.version} with {what}: the registry was restored from a copy"
    now = controller.restore(was, Origin.ROLLBACK, MANAGER_NAME, why, now_ns)
    return (
        f"{beat.robot} had v{beat.version} of epoch {beat.epoch} with {what}, so the registry was restored from a "
        f"copy: v{was} goes on as v{now.version} in epoch {registry.epoch}"
    )
