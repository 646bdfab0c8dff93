"""Verify that a bundle fits here, before anything acts on it."""

from __future__ import annotations

from typing import Final

import msgspec

from floop_robot.bundle.actor import Actor
from floop_robot.bundle.bundle import Bundle
from floop_robot.bundle.manifest import Manifest
from floop_robot.spec.errors import BundleRefused, ContractMismatch
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec

FLOOP_TASKS: Final = "floop/"
"""How the ids of all tasks begin that robots, gate and simulator know."""


class VerifiedBundle(msgspec.Struct, frozen=True):
    """A bundle that may act here."""

    bundle: Bundle
    actor: Actor
    notes: tuple[str, ...]
    """Differences that are allowed but worth seeing: other limits or another reward than in force here."""


def verify(
    bundle: Bundle, task: TaskSpec, ids: Ids, *, where: str = "here", newer_than: int | None = None
) -> VerifiedBundle:
    """Check everything that can be checked without acting, and load the actor.

    `where` names the checker in messages. `newer_than`: the version must be larger (versions only grow); None skips
    that. Raises `ContractMismatch` or `BundleRefused` in one line; returns the actor, ready to be swapped in.
    """
    manifest = bundle.manifest
    require_contract(manifest, task, ids, where)
    if newer_than is not None and manifest.version <= newer_than:
        raise BundleRefused(
            f"policy {manifest.title} is not newer than v{newer_than} at {where}; publish it under a new version"
        )
    architecture = manifest.architecture
    for what, has, wants in (
        ("observation", architecture.observation_size, task.observation.size),
        ("action", architecture.action_size, task.action.size),
    ):
        if has != wants:
            raise BundleRefused(f"policy {manifest.title} has {what} size {has}, {where} has {wants}; export it again")
    return VerifiedBundle(bundle, bundle.checked_actor(), _differences(manifest, ids, where))


def require_contract(manifest: Manifest, task: TaskSpec, ids: Ids, where: str) -> None:
    """Raise `ContractMismatch` unless a policy is for this task and contract; `where` names the checker."""
    if manifest.task == task.id and manifest.ids.contract == ids.contract:
        return
    if manifest.task != task.id and not manifest.task.startswith(FLOOP_TASKS):
        raise BundleRefused(
            f"policy {manifest.title} is for {manifest.task}, which is no floop task; {where} needs {task.id}. "
            "Only policies of floop tasks can be validated, played and given to robots; load the model.zip beside it "
            "in stable-baselines3"
        )
    architecture = manifest.architecture
    raise ContractMismatch(
        f"policy {manifest.title}",
        f"contract {manifest.ids.contract} ({manifest.task}, {architecture.observation_size} observations, "
        f"{architecture.action_size} actions)",
        where,
        f"contract {ids.contract} ({task.id}, {task.observation.size} observations, {task.action.size} actions)",
        f"Train a policy for {task.id} as it is here, or use the floop that made this one.",
    )


def _differences(manifest: Manifest, ids: Ids, where: str) -> tuple[str, ...]:
    notes = []
    if manifest.ids.limits != ids.limits:
        notes.append(f"{manifest.title} was trained under limits {manifest.ids.limits}, {where} enforces {ids.limits}")
    if manifest.ids.reward != ids.reward:
        notes.append(f"{manifest.title} was trained on reward {manifest.ids.reward}, {where} has {ids.reward}")
    return tuple(notes)
