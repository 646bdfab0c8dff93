"""What `floop check bundle` tells of a policy: what it is, and whether it would act here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from floop_robot.bundle import Bundle, verify
from floop_robot.services.import_zip import is_zip, read_policy
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task, task_ids

ZIP_TASK: Final = "floop/Pick-v0"
"""Task that a zip is compared with, unless one is given: a zip names none."""


class PolicyFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file with a policy, and what it is compared with."""

    path: Path
    task: str = ""
    """Empty: the bundle's own, or `ZIP_TASK`."""
    robot: str
    trust: bool = False
    vecnormalize: Path | None = None

    def check(self) -> list[str]:
        """Read it as a robot would and answer its stored observations again; returns notes. Raises `FloopError`."""
        task, from_zip = self.task or ZIP_TASK, is_zip(self.path)
        bundle = read_policy(self.path, task, self.robot, trust=self.trust, vecnormalize=self.vecnormalize)
        what = f"a stable-baselines3 zip of {bundle.manifest.algo.upper()}" if from_zip else "a floop bundle"
        lines = [f"right: {what} for {bundle.manifest.task}, {_shape(bundle)}"]
        lines += self._of_zip() if from_zip else _of_bundle(bundle)
        return lines + [f"note: {note}" for note in self._differences(bundle)]

    def _of_zip(self) -> list[str]:
        raw = "taken as raw: nothing in the zip shows that they were normalized"
        return [
            f"observations: {f'normalized by {self.vecnormalize}' if self.vecnormalize else raw}",
            "checks: acts as its predict(deterministic=True) on 1000 observations; all numbers are finite",
        ]

    def _differences(self, bundle: Bundle) -> tuple[str, ...]:
        task = self.task or bundle.manifest.task
        if not self.task and task not in task_ids():
            bundle.checked_actor()
            return (f"{task} is no task of this floop: its contract was not compared, and no fleet takes it",)
        rules = get_task(task)
        return verify(bundle, rules.spec, ids_of(rules, load_robot(self.robot)), where=f"{task} on {self.robot}").notes


def _shape(bundle: Bundle) -> str:
    shape = bundle.manifest.architecture
    hidden = " × ".join(map(str, shape.hidden)) + f" ({shape.activation})" if shape.hidden else "no hidden layer"
    return (
        f"{shape.observation_size} observations, {hidden}, {shape.action_size} actions ({shape.distribution}), "
        f"{len(bundle.tensors) / 1024:.0f} KiB"
    )


def _of_bundle(bundle: Bundle) -> list[str]:
    manifest, limit = bundle.manifest, bundle.manifest.normalization.limit
    certificate = manifest.certificate
    verdict = "none: no gate has judged it" if certificate is None else f"{certificate.decision}, {certificate.reason}"
    number = "none: no registry has taken it in" if not manifest.version else f"v{manifest.version}"
    return [
        f"version: {number}; sha256 {manifest.sha256}",
        f"trained: with {manifest.algo} on {manifest.data.transitions} transitions; made {_when(manifest.created_ns)}",
        _settings(bundle),
        f"observations: raw, normalized inside{'' if limit is None else f', clipped to ±{limit:g}'}",
        f"certificate: {verdict}",
        f"checks: {len(manifest.checks)} stored observations answered as recorded; all numbers are finite",
    ]


def _settings(bundle: Bundle) -> str:
    found = msgspec.to_builtins(getattr(bundle.manifest, "settings", None))
    if not found:
        return "settings: none are stored"
    shown = ", ".join(f"{name} {value}" for name, value in found.items()) if isinstance(found, dict) else str(found)
    return f"settings: {shown}"


def _when(stamp_ns: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(stamp_ns / 1e9))
    except (OverflowError, ValueError, OSError):
        return "at an unknown time"
