"""What a learner goes on from: the checkpoint beside a bundle, of the algorithm that it learns with."""

from __future__ import annotations

from pathlib import Path

from floop_robot.bundle import Bundle
from floop_robot.services.import_zip import is_zip
from floop_robot.spec.errors import ConfigError

CHECKPOINT_SUFFIX = ".learner"


def require_checkpoint(path: Path, bundle: Bundle, algo: str) -> None:
    """Raise `ConfigError` unless a learner of `algo` can go on from the bundle at `path`."""
    checkpoint, own = path.with_suffix(CHECKPOINT_SUFFIX), bundle.manifest.algo
    if own != algo:
        raise ConfigError(
            f"{path} was trained with {own}, but the fleet learns with {algo}; set learner.algo to {own}, or baseline "
            f"to a bundle of {algo} (floop train --algo {algo})"
        )
    if not checkpoint.is_file():
        raise ConfigError(
            f"{checkpoint} is not there, from which the learner goes on; give a bundle as floop train leaves it"
        )


def refuse_zip(path: Path) -> None:
    """Raise `ConfigError` for a zip: it holds a policy, and nothing that a learner could go on from."""
    if is_zip(path):
        raise ConfigError(
            f"{path} is a zip, which holds a policy and no learner's checkpoint; give a bundle with its "
            f"{CHECKPOINT_SUFFIX} beside it, as floop train leaves them"
        )
