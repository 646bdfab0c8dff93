"""`floop train --env` beside stock stable-baselines3, with equal budgets, on many environments.

    python benchmarks/train_matrix.py [--only Plain,Dict,Pendulum-v1] [--seeds 3] [--algo sac] [--scale 1.0] [--json]
    python benchmarks/train_matrix.py --results matrix.jsonl     # again: goes on where it was stopped
    python benchmarks/train_matrix.py --results matrix.jsonl --show [--markdown]

Small environments: `matrix_envs`, one property each. Others: Pendulum, LunarLander (gymnasium[box2d]), PandaReach
(sparse) and PandaPush (dense) of panda-gym; what is not installed is skipped, and the table says so.

Stock stable-baselines3 has its own defaults (HER where there are goals, its CNN for images). floop has its own, and no
early end. Both train the same number of steps (floop's random play counts) on one thread for gradient steps. Both are
judged by mean actions on the same fresh episodes, and where an environment tells success, by that. Seconds are those of
the training, without the final measurement; the machine may be shared, so compare them within a row.
`level` is 0 for random actions and 1 for the better of the two in that row. All environments have seed 0 before any has
seed 1. `--results` gets a line of JSON after each row; an environment, seed, algorithm and budget that is there is not
run again, so a line that is taken out is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import gymnasium
import msgspec
import numpy as np
import torch
from matrix_envs import VARIANTS  # beside this file

from floop_envs.seeds import Purpose, seed_of
from floop_robot.spec.errors import FloopError
from floop_robot.train.environments.random_play import STEPS as RANDOM_PLAY
from floop_robot.train.environments.random_play import reset_seed
from floop_robot.train.train import train
from floop_robot.train.train_config import TrainConfig

SMALL_STEPS = 2000
LARGE = {
    "Pendulum-v1": 5000,
    "panda_gym:PandaReach-v3": 4000,
    "panda_gym:PandaPushDense-v3": 50_000,
    "LunarLanderContinuous-v3": 50_000,
}
EPISODES = 100
GOOD = 0.95
"""Level from which a result counts as good as the other's: two runs of one algorithm differ by more."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one training came to."""

    mean_return: float = float("nan")
    success: float | None = None
    train_s: float = float("nan")
    steps: int = 0
    """Environment steps of the training: fewer than the budget where 400 episodes in a row succeeded."""
    error: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One environment and seed."""

    env: str
    seed: int
    steps: int
    algo: str = "sac"
    random_return: float
    floop: Outcome
    stock: Outcome

    def level(self, outcome: Outcome) -> float:
        """Where a return lies between random actions and the better of the two; NaN where neither beats these."""
        best = np.nanmax([self.floop.mean_return, self.stock.mean_return])
        gain = best - self.random_return
        return float((outcome.mean_return - self.random_return) / gain) if gain > 0 else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names, with commas between; `small` for all small ones")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--algo", choices=("sac", "ppo"), default="sac")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on all budgets")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--without-stock", action="store_true", help="train floop only")
    parser.add_argument("--results", type=Path, help="file of a line of JSON for each row, which a later start goes on")
    parser.add_argument("--show", action="store_true", help="run nothing, show the rows in --results")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="one table of all seeds, as in docs/environments.md")
    parser.add_argument("--smoke", action="store_true", help="a few steps of one environment")
    options = parser.parse_args()
    if options.smoke:
        options.only, options.seeds, options.scale = "DictKinds", 1, 0.2
    torch.set_num_threads(1)
    rows = read(options.results)
    if not options.show:
        measure(rows, options)
    if options.json:
        print(json.dumps(msgspec.to_builtins(rows)))
    else:
        print(markdown(rows) if options.markdown else table(rows))
    return 0


def measure(rows: list[Row], options: argparse.Namespace) -> None:
    """Run what `rows` lack, and add it to them."""
    environments = {env_id: round(steps * options.scale) for env_id, steps in chosen(options.only).items()}
    for env_id in list(environments):
        if reason := missing(env_id):
            print(f"{env_id}: skipped: {reason}", file=sys.stderr)
            del environments[env_id]
    done = {(row.env, row.seed, row.algo, row.steps) for row in rows}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for env_id, steps in environments.items():
            if (title(env_id), seed, options.algo, max(steps, 1)) in done:
                continue
            row = run(env_id, max(steps, 1), seed, options.algo, with_stock=not options.without_stock)
            rows.append(row)
            print(line(row), file=sys.stderr, flush=True)
            if options.results:
                with options.results.open("a") as file:
                    print(json.dumps(msgspec.to_builtins(row)), file=file)


def read(results: Path | None) -> list[Row]:
    if results is None or not results.exists():
        return []
    return [msgspec.convert(json.loads(text), Row) for text in results.read_text().splitlines()]


def chosen(only: str) -> dict[str, int]:
    small = {f"matrix_envs:{name}-v0": SMALL_STEPS for name in VARIANTS}
    every = small | LARGE
    if not only:
        return every
    names = only.split(",")
    return {i: n for i, n in every.items() if i in names or title(i) in names or ("small" in names and i in small)}


def title(env_id: str) -> str:
    return env_id.removeprefix("matrix_envs:").removesuffix("-v0") if env_id.startswith("matrix_envs") else env_id


def missing(env_id: str) -> str:
    try:
        gymnasium.make(env_id).close()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def run(env_id: str, steps: int, seed: int, algo: str, *, with_stock: bool) -> Row:
    return Row(
        env=title(env_id),
        seed=seed,
        steps=steps,
        algo=algo,
        random_return=measured(env_id, seed, None).mean_return,
        floop=floop(env_id, steps, seed, algo),
        stock=stock(env_id, steps, seed, algo) if with_stock else Outcome(error="not run"),
    )


def floop(env_id: str, steps: int, seed: int, algo: str) -> Outcome:
    began, learned_s = time.monotonic(), float("nan")

    def watch(progress: Any) -> None:
        nonlocal learned_s
        if progress.phase == "final scenarios":
            learned_s = time.monotonic() - began

    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            env=env_id, algo=algo, seed=seed, total_timesteps=max(steps - RANDOM_PLAY, 1), final_episodes=EPISODES,
            until_success=1.0, out=folder,
        )  # fmt: skip
        try:
            result = train(config, watch)
        except FloopError as error:
            return Outcome(error=str(error))
    done = result.transitions + RANDOM_PLAY
    return Outcome(mean_return=result.mean_return, success=result.success, train_s=learned_s, steps=done)


def stock(env_id: str, steps: int, seed: int, algo: str) -> Outcome:
    from stable_baselines3 import PPO, SAC, HerReplayBuffer
    from stable_baselines3.common.logger import Logger

    began = time.monotonic()
    try:
        env = gymnasium.make(env_id)
        observes = env.observation_space
        is_dict = isinstance(observes, gymnasium.spaces.Dict)
        policy = "MultiInputPolicy" if is_dict else "MlpPolicy"
        more: dict[str, Any] = {}
        if algo == "sac" and is_dict and "desired_goal" in observes.spaces and env.has_wrapper_attr("compute_reward"):
            more = {"replay_buffer_class": HerReplayBuffer}
        model = (SAC if algo == "sac" else PPO)(policy, env, seed=seed, device="cpu", **more)
        model.set_logger(Logger(folder=None, output_formats=[]))  # else it makes a folder in /tmp
        model.learn(steps)
        learned_s = time.monotonic() - began
        found = measured(env_id, seed, lambda obs: model.predict(obs, deterministic=True)[0])
    except Exception as error:
        return Outcome(error=f"{type(error).__name__}: {' '.join(str(error).split())[:80]}")
    return msgspec.structs.replace(found, train_s=learned_s, steps=model.num_timesteps)


def measured(env_id: str, seed: int, act: Callable[[Any], Any] | None) -> Outcome:
    """Return and success on the episodes that floop's final measurement has; `act` None: random actions."""
    env = gymnasium.make(env_id)
    env.action_space.seed(seed)
    returns, successes = [], []
    for index in range(EPISODES):
        obs, _ = env.reset(seed=reset_seed(seed_of(Purpose.REPORT, seed, index)))
        total, is_over, info = 0.0, False, dict[str, Any]()
        while not is_over:
            obs, reward, terminated, truncated, info = env.step(env.action_space.sample() if act is None else act(obs))
            total, is_over = total + float(reward), terminated or truncated
        returns.append(total)
        if "is_success" in info:
            successes.append(bool(info["is_success"]))
    return Outcome(mean_return=float(np.mean(returns)), success=float(np.mean(successes)) if successes else None)


def line(row: Row) -> str:
    def shown(outcome: Outcome) -> str:
        if outcome.error:
            return f"{outcome.error[:44]:<44}"
        success = "     " if outcome.success is None else f"{outcome.success:5.0%}"
        return f"{outcome.mean_return:10.2f} {success} {row.level(outcome):6.2f} {outcome.train_s:7.1f} s   "

    return f"{row.env:<28}{row.seed:>4}{row.steps:>7}{row.random_return:>10.2f}  {shown(row.floop)}{shown(row.stock)}"


def table(rows: list[Row]) -> str:
    head = f"{'environment':<28}{'seed':>4}{'steps':>7}{'random':>10}  "
    both = "".join(f"{name:<10}success  level    time      " for name in ("floop", "stock SB3"))
    lines = [head + both, *map(line, rows)]
    good = sum(row.level(row.floop) >= GOOD or bool(row.stock.error) for row in rows if not row.floop.error)
    theirs = sum(row.level(row.stock) >= GOOD or bool(row.floop.error) for row in rows if not row.stock.error)
    faster = [row.stock.train_s / row.floop.train_s for row in rows if not row.floop.error and not row.stock.error]
    lines.append(f"as good as the other (level >= {GOOD}): floop {good} of {len(rows)} runs, stock {theirs}")
    behind = [row for row in rows if row.floop.error or row.level(row.floop) < GOOD]
    unlearned = [row for row in rows if np.isnan(row.level(row.floop)) and not row.floop.error]
    for what, found in (("floop behind", behind), ("neither better than random actions", unlearned)):
        lines.append(f"{what}: {', '.join(f'{row.env} (seed {row.seed})' for row in found) or 'none'}")
    if faster:
        lines.append(
            f"training time, stock / floop: median {np.median(faster):.1f}, {min(faster):.1f} to {max(faster):.1f}"
        )
    return "\n".join(lines)


def markdown(rows: list[Row]) -> str:
    """A line for each environment and budget, with all its seeds in their order."""

    def shown(outcomes: list[Outcome]) -> str:
        return ", ".join(outcome.error or told(outcome) for outcome in outcomes)

    def told(outcome: Outcome) -> str:
        success = "" if outcome.success is None else f" ({outcome.success:.0%})"
        return f"{outcome.mean_return:.3g}{success}".replace("-", "−").replace("%", " %")

    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        groups.setdefault((row.env, row.algo, row.steps), []).append(row)
    lines = ["| environment | steps | seeds | random | floop | stock | time, stock / floop |", f"|{'---|' * 7}"]
    for (env, _, steps), group in groups.items():
        random = f"{np.mean([row.random_return for row in group]):.3g}".replace("-", "−")
        ratios = ", ".join(f"{row.stock.train_s / row.floop.train_s:.1f}" for row in group)
        seeds = ", ".join(str(row.seed) for row in group)
        both = f"{shown([row.floop for row in group])} | {shown([row.stock for row in group])}"
        lines.append(f"| `{env}` | {steps:,} | {seeds} | {random} | {both} | {ratios} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
