"""Stored observations and the actions that the policy must answer; they show that a bundle acts as it was made."""

from __future__ import annotations

import numpy as np

from floop_robot.bundle.actor import Actor
from floop_robot.bundle.manifest import Manifest
from floop_robot.spec.errors import BundleRefused

ACTION_TOLERANCE = 1e-4
"""Largest difference between an action and the recorded one: other BLAS builds round differently, by some 1e-6."""


def check_actions(manifest: Manifest, actor: Actor) -> None:
    """Compare the actor with the stored checks; raises `BundleRefused` when there are none or they differ."""
    if not manifest.checks:
        raise BundleRefused(f"policy {manifest.title} has no stored checks; export it again")
    shape = actor.architecture.observation_size, actor.architecture.action_size
    for i, check in enumerate(manifest.checks):
        if (len(check.observation), len(check.action)) != shape:
            raise BundleRefused(f"check {i} of policy {manifest.title} has the wrong size; export it again")
        answer = actor.mean(np.array(check.observation, np.float32))
        error = float(np.abs(answer - np.array(check.action, np.float32)).max())
        if not error <= ACTION_TOLERANCE:  # NaN is refused as well
            raise BundleRefused(
                f"policy {manifest.title} answers stored observation {i} with {np.round(answer, 4).tolist()} instead "
                f"of {np.round(check.action, 4).tolist()}; export it again"
            )
