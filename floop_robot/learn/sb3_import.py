"""SB3 import: a bundle made of a stable-baselines3 zip that was trained on a task, with its statistics if it has any.

Zips and statistics hold pickles: reading one runs whatever its author put in. Only `services/import_zip.py` calls this,
in a process of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gymnasium import spaces

from floop_robot.bundle import Architecture, Bundle, Distribution, Normalization
from floop_robot.learn.actor_network import UnreadablePolicy, actor_network
from floop_robot.learn.mlp import Array
from floop_robot.learn.sb3_zip import Sb3Policy, read_zip
from floop_robot.learn.vec_normalize import name_of, normalization_of, outside, read_statistics
from floop_robot.spec.errors import BundleRefused, FloopError
from floop_robot.spec.ids import Ids
from floop_robot.spec.layout import Layout
from floop_robot.spec.task import TaskSpec

COMPARED = 1000
"""Observations on which the bundle must act as the zip does."""
TOLERANCE = 1e-5
"""Largest difference between their actions, in normalized units."""


class UntrustedZip(FloopError):
    """A zip that floop can't use; one line says why."""


def bundle_from_zip(path: Path, task: TaskSpec, ids: Ids, vecnormalize: Path | None = None) -> Bundle:
    """A bundle that acts as the zip's `predict(deterministic=True)`; raises `UntrustedZip` in one line."""
    try:
        return _bundle(read_zip(path), task, ids, vecnormalize)
    except (UnreadablePolicy, BundleRefused) as error:
        raise UntrustedZip(f"{path} can't be used: {error}") from None
    except Exception as error:  # what is unpickled may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UntrustedZip(f"{path} can't be read ({reason}); save the model again with model.save") from None


def _bundle(found: Sb3Policy, task: TaskSpec, ids: Ids, vecnormalize: Path | None) -> Bundle:
    policy = found.policy
    _require_space("observation", policy.observation_space, task.observation, task.id)
    _require_space("action", policy.action_space, task.action, task.id)
    normalization = _normalization(found, task, vecnormalize)
    architecture, tensors = actor_network(policy)
    broken = [name for name, array in tensors.items() if not np.isfinite(array).all()]
    if broken:
        raise UnreadablePolicy(f"its weights hold NaN or infinity ({broken[0]}); training diverged, use an earlier one")
    tensors = _in_normalized_units(architecture, tensors, task.action)
    observations = _observations(task.observation)
    actions = _predicted(found, observations, normalization, task.action)
    bundle = Bundle.build(
        task=task,
        ids=ids,
        algo=found.algo,
        architecture=architecture,
        tensors=tensors,
        observations=observations,
        actions=actions,
        normalization=normalization,
    )
    error = float(np.abs(bundle.actor().mean_batch(observations) - actions).max())
    if not error <= TOLERANCE:
        raise UnreadablePolicy(
            f"its predict() differs by {error:.2g} from the network in it; floop reads policies that act by it alone"
        )
    return bundle


def _require_space(what: str, space: spaces.Space[object], layout: Layout, task: str) -> None:
    """The zip's own space must be the task's: same numbers, same ranges."""
    if not isinstance(space, spaces.Box):
        raise UnreadablePolicy(
            f"its {what}s are {_in_words(space)}, {task} has a Box of {layout.size}; train it on {task}"
        )
    if space.shape != (layout.size,):
        raise UnreadablePolicy(
            f"its {what}s have shape {space.shape}, {task} has {layout.size} numbers; train it on {task}"
        )
    width = layout.high.astype(np.float64) - layout.low
    differs = [
        ~np.isclose(bound.astype(np.float64), own, rtol=1e-5, atol=1e-5 * np.where(np.isfinite(width), width, 1.0))
        for bound, own in ((space.low, layout.low), (space.high, layout.high))
    ]
    where = np.flatnonzero(differs[0] | differs[1])
    if len(where):
        i = int(where[0])
        cure = "rescale them in the environment it is trained on" if what == "action" else f"train it on {task}"
        raise UnreadablePolicy(
            f"its {what} {name_of(layout, i)} (number {i}) ranges from {space.low[i]:g} to {space.high[i]:g}, "
            f"that of {task} from {layout.low[i]:g} to {layout.high[i]:g}; {cure}"
        )


def _in_words(space: spaces.Space[object]) -> str:
    if isinstance(space, spaces.Dict):
        return f"a dictionary ({', '.join(list(space)[:5])})"
    return str(space)


def _normalization(found: Sb3Policy, task: TaskSpec, vecnormalize: Path | None) -> Normalization:
    """That of the statistics; none, unless the zip shows that it had some."""
    if vecnormalize is not None:
        return normalization_of(read_statistics(vecnormalize), vecnormalize, task)
    ask = "give the file that VecNormalize.save wrote: --vecnormalize FILE (a service takes what floop import makes)"
    if found.is_wrapped:
        raise UnreadablePolicy(f"it was trained behind VecNormalize, whose statistics are not in a zip; {ask}")
    if found.last_obs is not None and found.last_obs.shape[1:] == (task.observation.size,):
        for row in found.last_obs:
            if (fault := outside(task.observation, row)) is not None:
                raise UnreadablePolicy(
                    f"it was not trained on raw observations of {task.id}: in the last that it saw {fault}; "
                    f"if they were normalized, {ask}"
                )
    size = task.observation.size
    return Normalization((0.0,) * size, (1.0,) * size)


def _in_normalized_units(architecture: Architecture, tensors: dict[str, Array], action: Layout) -> dict[str, Array]:
    """Actors in [-1, 1]: squashed ones are so already, the means of others are in the units of the action space."""
    if architecture.distribution.squashes:
        return tensors
    half, middle = _half_range(action)
    out = tensors | {
        "mean.weight": (tensors["mean.weight"] / half[:, None]).astype(np.float32),
        "mean.bias": ((tensors["mean.bias"] - middle) / half).astype(np.float32),
    }
    if architecture.distribution is Distribution.GAUSSIAN:
        out["log_std"] = (tensors["log_std"] - np.log(half)).astype(np.float32)
    return out


def _half_range(action: Layout) -> tuple[np.ndarray, np.ndarray]:
    low, high = action.low.astype(np.float64), action.high.astype(np.float64)
    return (high - low) / 2.0, (high + low) / 2.0


def _observations(layout: Layout) -> Array:
    """Raw observations from everywhere in the task's ranges, and around its usual values, in equal parts."""
    rng = np.random.default_rng(0)
    reach = 3.0 * layout.scale  # where a range is infinite
    low = np.where(np.isfinite(layout.low), layout.low, layout.offset - reach)
    high = np.where(np.isfinite(layout.high), layout.high, layout.offset + reach)
    anywhere = rng.uniform(low, high, (COMPARED // 2, layout.size))
    usual = layout.offset + layout.scale * rng.standard_normal((COMPARED - len(anywhere), layout.size))
    both = np.concatenate([anywhere, usual])[rng.permutation(COMPARED)]
    inside: Array = np.clip(both, layout.low, layout.high).astype(np.float32)
    return inside


def _predicted(found: Sb3Policy, observations: Array, normalization: Normalization, action: Layout) -> Array:
    """What the zip's own policy answers, in normalized units, shape (n, action_size)."""
    seen = (observations - np.array(normalization.offset)) / np.array(normalization.scale)
    if normalization.limit is not None:
        seen = np.clip(seen, -normalization.limit, normalization.limit)
    actions, _ = found.policy.predict(seen.astype(np.float32), deterministic=True)
    half, middle = _half_range(action)
    normalized: Array = ((actions - middle) / half).astype(np.float32)
    return normalized
