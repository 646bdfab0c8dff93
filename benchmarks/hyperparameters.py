"""Each hyper-parameter of SAC halved and doubled on Pendulum, floop beside stock stable-baselines3.

    python benchmarks/hyperparameters.py [--steps 5000] [--seeds 1] [--only learning_rate,tau] [--json]

Both start from their own defaults and change one value by the same factor. A discount is changed by its horizon
1 / (1 - gamma). Stock is `SAC("MlpPolicy", …)` with its own networks and buffer. Both are judged by mean actions on the
same 20 fresh episodes. A cliff: the changed value loses more than 200 of return against the default of the same side,
where the other side does not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC

from floop_envs.seeds import Purpose, seed_of
from floop_robot.spec.default_settings import ENV_SAC
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.train.environments.random_play import reset_seed
from floop_robot.train.train import train
from floop_robot.train.train_config import TrainConfig

ENV, EPISODES, CLIFF = "Pendulum-v1", 20, 200.0
FLOOP_ONLY = ("average_steps", "reward_scale")
"""Stock has no such values: its default stands beside them."""


def horizon(gamma: float, factor: float) -> float:
    """The discount whose horizon is `factor` times as long."""
    return 1.0 - (1.0 - gamma) / factor


def floop_change(name: str, factor: float, steps: int) -> dict[str, Any]:
    """Fields of `TrainConfig` that change."""
    if name == "learning_starts":
        return {name: round(100 * factor)}
    value: Any = {
        "gamma": horizon(ENV_SAC.gamma, factor),
        "net_arch": tuple(round(width * factor) for width in ENV_SAC.net_arch),
        "ent_coef": f"auto_{factor}",
        "buffer_size": round(steps * factor),
    }.get(name)
    if value is None:
        default = getattr(ENV_SAC, name)
        value = round(default * factor) if isinstance(default, int) else default * factor
    return {"sac": SacSettings(**{name: value})}


def stock_change(name: str, factor: float, steps: int) -> dict[str, Any]:
    """Arguments of stock SAC that change."""
    if name in FLOOP_ONLY:
        return {}
    if name == "utd_ratio":
        return {"gradient_steps": 2} if factor > 1 else {"train_freq": 2, "gradient_steps": 1}
    defaults = {"learning_rate": 3e-4, "tau": 0.005, "batch_size": 256, "learning_starts": 100}
    return {
        "gamma": {"gamma": horizon(0.99, factor)},
        "net_arch": {"policy_kwargs": {"net_arch": [round(256 * factor)] * 2}},
        "ent_coef": {"ent_coef": f"auto_{factor}"},
        "buffer_size": {"buffer_size": round(steps * factor)},
    }.get(name) or {name: type(defaults[name])(defaults[name] * factor)}


NAMES: dict[str, str] = {
    "learning_rate": "Adam's step size",
    "gamma": "horizon of the discount",
    "tau": "target update",
    "batch_size": "rows per gradient step",
    "utd_ratio": "gradient steps per environment step",
    "net_arch": "width of both layers",
    "ent_coef": "start of the entropy coefficient",
    "learning_starts": "steps before the first gradient step",
    "buffer_size": "rows kept, from the number of steps",
    "average_steps": "gradient steps that the actor is averaged over",
    "reward_scale": "factor on rewards",
}


def judged(act: Callable[[np.ndarray], np.ndarray], seed: int) -> float:
    """Mean return of a policy on fresh episodes."""
    env = gymnasium.make(ENV)
    returns = []
    for index in range(EPISODES):
        obs, _ = env.reset(seed=reset_seed(seed_of(Purpose.VALIDATION, seed, index)))
        total, over = 0.0, False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(act(obs))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return statistics.mean(returns)


def floop(change: dict[str, Any], steps: int, seed: int) -> float:
    with tempfile.TemporaryDirectory(prefix="floop-hyperparameters-") as folder:
        short = {"final_episodes": 1, "selection_episodes": 10, "total_timesteps": steps, "seed": seed}
        result = train(TrainConfig(**{"env": ENV, "out": f"{folder}/run", **short, **change}))
        model = SAC.load(result.model, device="cpu")
    return judged(lambda obs: model.predict(obs, deterministic=True)[0], seed)


def stock(change: dict[str, Any], steps: int, seed: int) -> float:
    model = SAC("MlpPolicy", gymnasium.make(ENV), seed=seed, device="cpu", **change)
    model.learn(steps)
    return judged(lambda obs: model.predict(obs, deterministic=True)[0], seed)


def row(name: str, options: argparse.Namespace, defaults: dict[str, list[float]]) -> dict[str, Any]:
    """Returns of both sides for half and double of one value."""
    out: dict[str, Any] = {"name": name}
    for factor, word in ((0.5, "half"), (2.0, "double")):
        for side, run, change in (("floop", floop, floop_change), ("stock", stock, stock_change)):
            changed = change(name, factor, options.steps)
            out[f"{side}_{word}"] = (
                [run(changed, options.steps, seed) for seed in range(options.seeds)] if changed else defaults[side]
            )
        lost = {side: statistics.mean(defaults[side]) - statistics.mean(out[f"{side}_{word}"]) for side in defaults}
        out[f"cliff_{word}"] = lost["floop"] > CLIFF >= lost["stock"]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default=",".join(NAMES), help="names, with commas")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a minute's part of it, without limits to reach")
    options = parser.parse_args()
    if options.smoke:
        options.steps, options.only = 150, "tau"
    torch.set_num_threads(1)
    seeds = range(options.seeds)
    defaults = {
        "floop": [floop({}, options.steps, seed) for seed in seeds],
        "stock": [stock({}, options.steps, seed) for seed in seeds],
    }
    show = lambda returns: " ".join(f"{value:7.0f}" for value in returns)  # noqa: E731
    if not options.json:
        print(f"{options.steps} steps of {ENV}, {options.seeds} seed(s), returns (higher is better)")
        print(f"{'default':>16}  floop {show(defaults['floop'])}   stock {show(defaults['stock'])}", flush=True)
    rows = []
    for name in options.only.split(","):
        rows.append(row(name, options, defaults))
        if not options.json:
            for word in ("half", "double"):
                found = rows[-1]
                cliff = "   CLIFF" if found[f"cliff_{word}"] else ""
                sides = f"floop {show(found[f'floop_{word}'])}   stock {show(found[f'stock_{word}'])}"
                print(f"{name:>16}  {word:>6}: {sides}{cliff}  ({NAMES[name]})", flush=True)
    cliffs = [f"{found['name']} {word}" for found in rows for word in ("half", "double") if found[f"cliff_{word}"]]
    if options.json:
        print(json.dumps({"defaults": defaults, "rows": rows, "cliffs": cliffs}))
    else:
        print(f"cliffs that stock does not have: {', '.join(cliffs) or 'none'}")
    sys.exit(1 if cliffs and not options.smoke else 0)


if __name__ == "__main__":
    main()
