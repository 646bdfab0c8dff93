"""Each hyper-parameter of SAC halved and doubled on Pendulum, floop beside stock stable-baselines3.

    python benchmarks/hyperparameters.py [--steps 5000] [--seeds 1] [--only learning_rate,tau] [--json]
    python benchmarks/hyperparameters.py --results hyper.jsonl     # again: goes on where it was stopped
    python benchmarks/hyperparameters.py --results hyper.jsonl --show [--markdown]

Both start from their own defaults and change one value by the same factor. A discount is changed by its horizon
1 / (1 - gamma). Stock is `SAC("MlpPolicy", …)` with its own networks and buffer. Both are judged by mean actions on the
same 20 fresh episodes. A cliff: the changed value loses more than 200 of return against the default of the same side,
where the other side does not. So stock is trained with a changed value only where floop loses as much by it, or
everywhere with `--all-of-stock`. `--results` gets a line of JSON after each training, which is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import gymnasium
import msgspec
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from floop_envs.seeds import Purpose, seed_of
from floop_robot.spec.default_settings import ENV_SAC
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.train.environments.random_play import reset_seed
from floop_robot.train.train import train
from floop_robot.train.train_config import TrainConfig

ENV, EPISODES, CLIFF = "Pendulum-v1", 20, 200.0
DEFAULT = "default"
FACTORS = {"half": 0.5, "double": 2.0}
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
        "target_entropy": -factor,
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
        "target_entropy": {"target_entropy": -factor},
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
    "target_entropy": "entropy that the coefficient aims at",
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
    model.set_logger(Logger(folder=None, output_formats=[]))  # else it makes a folder in /tmp
    model.learn(steps)
    return judged(lambda obs: model.predict(obs, deterministic=True)[0], seed)


class Trial(msgspec.Struct, frozen=True):
    """One training."""

    side: str
    name: str
    word: str
    seed: int
    steps: int
    mean_return: float = 0.0
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        return self.side, self.name, self.word, self.seed, self.steps

    def run(self) -> Trial:
        train_one, change_one = (floop, floop_change) if self.side == "floop" else (stock, stock_change)
        change = {} if self.name == DEFAULT else change_one(self.name, FACTORS[self.word], self.steps)
        began = time.monotonic()
        mean_return = train_one(change, self.steps, self.seed)
        return msgspec.structs.replace(self, mean_return=mean_return, seconds=time.monotonic() - began)


class Trials:
    """All trainings of a run, by key, and the file that they are kept in."""

    def __init__(self, results: Path | None, steps: int) -> None:
        self._results, self._steps = results, steps
        text = results.read_bytes() if results and results.exists() else b""
        found = [msgspec.json.decode(line, type=Trial) for line in text.splitlines()]
        self._done = {trial.key: trial for trial in found if trial.steps == steps}

    def run(self, names: list[str], seeds: range, *, all_of_stock: bool) -> None:
        places = [(name, word) for name in names for word in FACTORS]
        for seed in seeds:
            for name, word in [(DEFAULT, ""), *places]:
                self._run_once(Trial("floop", name, word, seed, self._steps))
        # What costs floop little is no cliff, whatever it costs stock, which is several times slower.
        doubtful = [place for place in places if all_of_stock or not self.lost("floop", *place) <= CLIFF]
        for seed in seeds:
            for name, word in [(DEFAULT, ""), *doubtful]:
                if name not in FLOOP_ONLY:
                    self._run_once(Trial("stock", name, word, seed, self._steps))

    def _run_once(self, wanted: Trial) -> None:
        if wanted.key not in self._done:
            self._add(wanted.run())

    def _add(self, trial: Trial) -> None:
        self._done[trial.key] = trial
        print(f"{trial.name:>16} {trial.word:>6} {trial.side} {trial.mean_return:7.0f}", file=sys.stderr, flush=True)
        if self._results:
            with self._results.open("ab") as file:
                file.write(msgspec.json.encode(trial) + b"\n")

    def returns(self, side: str, name: str, word: str) -> list[float]:
        """By seed; where stock has no such value, its default's."""
        if side == "stock" and name in FLOOP_ONLY:
            name, word = DEFAULT, ""
        found = [trial for trial in self._done.values() if (trial.side, trial.name, trial.word) == (side, name, word)]
        return [trial.mean_return for trial in sorted(found, key=lambda trial: trial.seed)]

    def lost(self, side: str, name: str, word: str) -> float:
        """Return that the change costs; NaN where it was not run."""
        changed, default = self.returns(side, name, word), self.returns(side, DEFAULT, "")
        return statistics.mean(default) - statistics.mean(changed) if changed and default else float("nan")

    def cliffs(self, names: list[str]) -> list[str]:
        places = [(name, word) for name in names for word in FACTORS]
        run = [place for place in places if self.returns("floop", *place)]  # NaN is a loss, too
        lost = [place for place in run if not self.lost("floop", *place) <= CLIFF]
        return [f"{n} {w}" for n, w in lost if not self.lost("stock", n, w) > CLIFF]

    def table(self, names: list[str], *, markdown: bool) -> str:
        def show(side: str, name: str, word: str) -> str:
            return " ".join(f"{value:.0f}" for value in self.returns(side, name, word)) or "not run"

        lines: list[tuple[str, ...]] = [("value", "floop, half", "double", "stock, half", "double")]
        lines.append((DEFAULT, show("floop", DEFAULT, ""), "", show("stock", DEFAULT, ""), ""))
        for name in names:
            cells = [show(side, name, word) for side in ("floop", "stock") for word in FACTORS]
            lines.append((f"`{name}`" if markdown else name, *cells))
        if not markdown:
            return "\n".join("".join(f"{cell:>24}" for cell in cells) for cells in lines)
        lines.insert(1, ("---",) * len(lines[0]))
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default=",".join(NAMES), help="names, with commas")
    parser.add_argument(
        "--results", type=Path, help="file of a line of JSON for each training, which a later start goes on"
    )
    parser.add_argument("--all-of-stock", action="store_true", help="also where floop loses little")
    parser.add_argument("--show", action="store_true", help="run nothing, show what is in --results")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a minute's part of it, without limits to reach")
    options = parser.parse_args()
    if options.smoke:
        options.steps, options.only, options.all_of_stock = 150, "tau", True
    torch.set_num_threads(1)
    names, trials = options.only.split(","), Trials(options.results, options.steps)
    if not options.show:
        trials.run(names, range(options.seeds), all_of_stock=options.all_of_stock)
    cliffs = trials.cliffs(names)
    if options.json:
        returns = {f"{s} {n} {w}": trials.returns(s, n, w) for s in ("floop", "stock") for n in names for w in FACTORS}
        defaults = {side: trials.returns(side, DEFAULT, "") for side in ("floop", "stock")}
        print(json.dumps({"steps": options.steps, "defaults": defaults, "returns": returns, "cliffs": cliffs}))
    else:
        print(f"{options.steps} steps of {ENV}, returns by seed (higher is better)")
        print(trials.table(names, markdown=options.markdown))
        print(f"cliffs that stock does not have: {', '.join(cliffs) or 'none'}")
    sys.exit(1 if cliffs and not options.smoke else 0)


if __name__ == "__main__":
    main()
