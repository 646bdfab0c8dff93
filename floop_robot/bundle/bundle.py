"""Bundle: a policy as one blob of bytes (`.floop`) and back.

The blob is a msgpack container: format, SHA-256 over all that follows, manifest, tensors (safetensors), and a place for
signed metadata of The Update Framework. Nothing in it can execute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from floop_robot.bundle.actor import Actor, Array
from floop_robot.bundle.checks import check_actions
from floop_robot.bundle.foreign_file import kind_of
from floop_robot.bundle.manifest import (
    Activation,
    Architecture,
    DataRange,
    Distribution,
    Manifest,
    Normalization,
    PolicyCheck,
)
from floop_robot.durable.files import read_regular, write_atomic
from floop_robot.durable.framing import pack
from floop_robot.spec.calibration import Calibration, calibration_fault
from floop_robot.spec.errors import BundleRefused
from floop_robot.spec.hyperparameters import CarriedSettings
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.verdict import Verdict
from floop_robot.spec.wall_clock import wall_clock_ns

FORMAT = "floop-bundle-2"
"""What bundles have been written as since 1, which spelled a key of the manifest differently."""
FORMAT_MORE = "floop-bundle-3"
"""Bundles that robots one version back would act on wrongly, or not understand: other activations than ReLU and tanh,
limits on observations or means, policies without a density. Such robots refuse them in one line."""
MAX_BUNDLE_BYTES = 16 << 20
"""An actor has some hundred kilobytes. A larger file is no bundle and is not read into memory."""
MAX_MANIFEST_BYTES = 1 << 20
"""Of the part that is read before anything is known; most of it are the stored checks."""
CHECK_COUNT = 8
"""Stored observations per bundle."""
T = TypeVar("T")
_BEGIN = b"\x95\xaefloop-bundle-"
"""How every bundle of one-digit format begins: an array of five, and the format."""


class _Container(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    format: str
    digest: bytes
    manifest: bytes
    tensors: bytes
    metadata: bytes
    """Signed metadata (TUF); empty until keys arrive."""


class Bundle(msgspec.Struct, frozen=True):
    """A policy: manifest and tensors."""

    manifest: Manifest
    tensors: bytes
    """safetensors, float32; names and shapes as `Architecture.tensor_shapes()` says."""
    metadata: bytes = b""

    @classmethod
    def build(
        cls,
        *,
        task: TaskSpec,
        ids: Ids,
        algo: str,
        architecture: Architecture,
        tensors: Mapping[str, Array],
        observations: Array,
        actions: Array | None = None,
        data: DataRange | None = None,
        parent: int = 0,
        normalization: Normalization | None = None,
        settings: CarriedSettings | None = None,
    ) -> Bundle:
        """Make a candidate (version 0) from an actor's tensors.

        `observations`, raw, shape (n, observation_size): the first `CHECK_COUNT` become the stored checks.
        `normalization`: what the tensors expect; None is the task's own.
        `actions`, shape (n, action_size): the trainer's own mean actions for them; without it, the numpy actor's.
        `settings`: the hyper-parameters that it was trained with.
        Raises `BundleRefused` when tensors don't fit the architecture, aren't finite, or numpy and trainer disagree.
        """
        if normalization is None:
            offset, scale = task.observation.offset, task.observation.scale
            normalization = Normalization(tuple(offset.tolist()), tuple(scale.tolist()))
        arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}
        chosen = np.asarray(observations, np.float32).reshape(-1, architecture.observation_size)[:CHECK_COUNT]
        own = Actor(architecture, normalization, arrays).mean_batch(chosen)
        expected = own if actions is None else np.asarray(actions, np.float32)[:CHECK_COUNT]
        blob = safetensors.numpy.save(arrays)
        manifest = Manifest(
            parent=parent,
            task=task.id,
            ids=ids,
            algo=algo,
            architecture=architecture,
            normalization=normalization,
            sha256=_name_of(blob, {}),
            settings=settings or {},
            data=data or DataRange(),
            checks=tuple(
                PolicyCheck(tuple(o), tuple(a)) for o, a in zip(chosen.tolist(), expected.tolist(), strict=True)
            ),
            created_ns=wall_clock_ns(),
        )
        bundle = cls(manifest, blob)
        bundle.checked_actor()
        return bundle

    def with_version(self, *, version: int, epoch: int, parent: int, certificate: Verdict | None) -> Bundle:
        """Return the same weights under a version of the registry."""
        manifest = msgspec.structs.replace(
            self.manifest, version=version, epoch=epoch, parent=parent, certificate=certificate
        )
        return Bundle(manifest, self.tensors, self.metadata)

    def with_calibration(self, calibration: Calibration) -> Bundle:
        """Return the same weights with these corrections: another policy."""
        corrections = dict(sorted(calibration.items()))
        name = _name_of(self.tensors, corrections)
        manifest = msgspec.structs.replace(self.manifest, calibration=corrections, sha256=name)
        return Bundle(manifest, self.tensors, self.metadata)

    def to_bytes(self) -> bytes:
        """Return the blob that `from_bytes` reads."""
        manifest = pack(self.manifest)
        digest = _digest(manifest, self.tensors, self.metadata)
        return pack(_Container(_format_of(self.manifest), digest, manifest, self.tensors, self.metadata))

    @classmethod
    def from_bytes(cls, blob: bytes | memoryview, where: str = "the bundle") -> Bundle:
        """Read a blob; raises `BundleRefused` when it is truncated, altered or none at all."""
        container = _decode(blob, _Container, where)
        if container.format not in (FORMAT, FORMAT_MORE):
            raise BundleRefused(
                f"{where} has format {container.format!r}, but this floop reads {FORMAT!r} and {FORMAT_MORE!r}; "
                "train the policy again, or use the floop that wrote it"
            )
        if len(blob) > MAX_BUNDLE_BYTES or len(container.manifest) > MAX_MANIFEST_BYTES:
            raise BundleRefused(
                f"{where} has {len(blob)} bytes, {len(container.manifest)} of them manifest; a bundle has "
                f"{MAX_BUNDLE_BYTES} at most, its manifest {MAX_MANIFEST_BYTES}: train a smaller policy"
            )
        if _digest(container.manifest, container.tensors, container.metadata) != container.digest:
            raise BundleRefused(f"{where} is damaged: its checksum doesn't fit its content; fetch it again")
        manifest = _decode(container.manifest, Manifest, where)
        if container.format != _format_of(manifest):  # a flipped bit makes the one format the other
            raise BundleRefused(f"{where} is damaged: {container.format!r} doesn't fit its content; fetch it again")
        if _name_of(container.tensors, manifest.calibration) != manifest.sha256:
            raise BundleRefused(f"{where} holds other tensors or corrections than its manifest names; export it again")
        if fault := calibration_fault(manifest.calibration):
            raise BundleRefused(f"{where} has {fault}; export it again")
        return cls(manifest, container.tensors, container.metadata)

    def save(self, path: Path) -> None:
        """Write to `path`, whole or not at all; raises `StorageError`."""
        write_atomic(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read a `.floop` file; raises `StorageError` (unreadable) or `BundleRefused` (no whole bundle)."""
        blob = read_regular(path, MAX_BUNDLE_BYTES + 1)
        if len(blob) > MAX_BUNDLE_BYTES:
            raise BundleRefused(f"{path} is larger than any bundle ({MAX_BUNDLE_BYTES >> 20} MiB); check the path")
        return cls.from_bytes(blob, str(path))

    def arrays(self) -> dict[str, Array]:
        """Return the tensors by name; raises `BundleRefused` when they aren't finite float32."""
        title = self.manifest.title
        try:
            arrays = safetensors.numpy.load(self.tensors)
        except (SafetensorError, ValueError, KeyError) as error:
            raise BundleRefused(f"the tensors of {title} can't be read ({error}); export it again") from None
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise BundleRefused(f"tensor {name!r} of {title} is {array.dtype}, not float32; export it again")
            if not np.isfinite(array).all():
                raise BundleRefused(f"tensor {name!r} of {title} holds NaN or infinity; training diverged, go back")
        return arrays

    def actor(self) -> Actor:
        """Return a fresh numpy actor; raises `BundleRefused` when the tensors are unfit."""
        return Actor(self.manifest.architecture, self.manifest.normalization, self.arrays())

    def checked_actor(self) -> Actor:
        """Like `actor`, and it must answer the stored observations as recorded; raises `BundleRefused`."""
        actor = self.actor()
        check_actions(self.manifest, actor)
        return actor


def _format_of(manifest: Manifest) -> str:
    """The lowest format that says everything about a policy."""
    architecture = manifest.architecture
    is_plain = (
        architecture.activation in (Activation.RELU, Activation.TANH)
        and architecture.distribution in (Distribution.TANH_GAUSSIAN, Distribution.GAUSSIAN)
        and architecture.mean_limit is None
        and manifest.normalization.limit is None
    )
    return FORMAT if is_plain else FORMAT_MORE


def _name_of(tensors: bytes, calibration: Calibration) -> str:
    digest = hashlib.sha256(tensors)
    if calibration:
        digest.update(msgspec.json.encode(calibration, order="deterministic"))
    return digest.hexdigest()


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _decode(blob: bytes | memoryview, kind: type[T], where: str) -> T:
    try:
        return msgspec.msgpack.decode(blob, type=kind)
    # A hostile message can raise the last two as well.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if kind is _Container and not bytes(blob[: len(_BEGIN)]).startswith(_BEGIN):
            raise BundleRefused(f"{where} is no policy bundle: it is {kind_of(blob)}") from None
        reason = " ".join(str(error).split())
        if kind is Manifest:  # its checksum was right
            raise BundleRefused(
                f"the manifest of {where} says what this floop does not know ({reason}); "
                "use the floop that wrote it, or a newer one"
            ) from None
        raise BundleRefused(f"{where} is no whole policy bundle ({reason}); fetch it again") from None
