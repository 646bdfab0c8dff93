"""TrainConfig: the configuration of `floop train`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from floop_envs.seeds import MAX_RUN_SEED
from floop_robot.spec.default_settings import ENV_PPO, ENV_SAC, TASK_PPO, TASK_SAC
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import (
    ENOUGH_ROWS,
    UNSET,
    AlgorithmSettings,
    BehaviorCloningSettings,
    PpoSettings,
    SacSettings,
)
from floop_robot.spec.ranges import Count, Device, Positive, Size
from floop_robot.spec.yaml_file import fields_of
from floop_robot.train.training_episode import no_demonstrations

Seed = Annotated[int, Meta(ge=0, le=MAX_RUN_SEED)]
ALGORITHMS = ("sac", "ppo")


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything `floop train` needs; a recipe is one of these as YAML."""

    task: str = "floop/Pick-v0"
    """Task to learn."""
    robot: str = "panda"
    """Arm of the task: a name in `config/robots/`, or the path of a YAML file. It must be one that can be simulated."""
    env: str = ""
    """Id of a Gymnasium environment to learn instead of the task."""
    algo: str = "sac"
    """Algorithm: `sac` or `ppo`."""
    demonstrations: Count = 0
    """Successful episodes of the scripted expert; the policy starts as their clone (SAC: learns from them, too)."""
    seed: Seed = 0
    """Seed of everything that is random."""
    n_envs: Size = 1
    """Environments that are stepped at once, each in a process of its own. The curve depends on it."""
    device: Device = "cpu"
    """Where gradient steps are computed: `cpu`, `cuda`, or `auto`: a GPU where there is one and a hidden layer has 128
    units or more. PPO computes on the CPU."""
    until_success: float = 0.95
    """Success to reach, above 0 and at most 1. Training ends when new scenarios confirm it."""
    out: str = ""
    """Folder of the run; empty: the next of runs/train_1, runs/train_2 and so on."""
    total_timesteps: Count = 40_000
    """Training ends after so many environment steps, or earlier at `until_success`."""
    episodes_per_batch: Size = 1
    """Episodes made with the same weights, while the gradient steps for the batch before are taken."""
    learning_starts: Count = UNSET
    """Transitions before the first gradient step: 500 in floop's tasks, 100 elsewhere."""
    selection_episodes: Size = 100
    """Episodes of a measurement that selects the best weights."""
    select_every: Count = 500
    """Transitions between two of these measurements, once training episodes succeed."""
    eval_freq: Count = 0
    """Steps between two evaluations of a policy for `env`, of which the best is kept; 0: a tenth of
    `total_timesteps`."""
    n_eval_episodes: Size = 5
    """Episodes of such an evaluation."""
    checkpoint_interval_s: Positive = 30.0
    """How often the state of the training is written, s; a killed training loses no more than that."""
    final_episodes: Size = 200
    """Episodes of the final measurement, on scenarios that are used only there."""
    prior_rows: Count = 4000
    """Training rows that travel with the checkpoint, as known tasks for a learner that goes on from it."""
    randomize: bool = False
    """Whether friction, mass, delay and calibration vary from training episode to training episode."""
    tensorboard: bool = False
    """Whether to write curves for TensorBoard to `out`/tensorboard."""
    sac: SacSettings = msgspec.field(default_factory=SacSettings)
    ppo: PpoSettings = msgspec.field(default_factory=PpoSettings)
    clone: BehaviorCloningSettings = msgspec.field(default_factory=BehaviorCloningSettings)

    def check(self) -> None:
        """Raise `ConfigError` for a field out of its range, and for what the types can't tell."""
        fields_of(msgspec.to_builtins(self), TrainConfig, "the training").check()
        if self.algo not in ALGORITHMS:
            raise ConfigError(f"algo is {self.algo!r}; use {' or '.join(ALGORITHMS)}")
        if 1 < self.episodes_per_batch < self.n_envs:
            wrong = f"episodes_per_batch is {self.episodes_per_batch}, less than n_envs {self.n_envs}"
            raise ConfigError(f"{wrong}, of which each makes one; raise it or leave it out")
        if self.env and self.demonstrations:
            raise no_demonstrations(self.env)
        settings = self.settings
        if isinstance(settings, PpoSettings) and settings.batch_size > settings.n_steps:
            wrong = f"ppo.batch_size is {settings.batch_size}, more than ppo.n_steps {settings.n_steps}"
            raise ConfigError(f"{wrong}: no update would fill a batch; lower it or raise n_steps")
        if not self.total_timesteps and not self.demonstrations:
            raise ConfigError("total_timesteps is 0 and there are no demonstrations to clone; use 1 or more of one")
        if not 0.0 < self.until_success <= 1.0:
            raise ConfigError(f"until_success is {self.until_success}; use a share above 0 and at most 1")

    @property
    def settings(self) -> AlgorithmSettings:
        """Hyper-parameters of the chosen algorithm, complete: what was said, over the defaults."""
        if self.algo == "ppo":
            return self.ppo.over(ENV_PPO if self.env else TASK_PPO)
        return self.sac.over(ENV_SAC if self.env else TASK_SAC)

    @property
    def settings_in_budget(self) -> AlgorithmSettings:
        """The same, with no larger buffer than the steps fill: it would only reserve memory."""
        settings = self.settings
        if self.env and isinstance(settings, SacSettings):
            rows = max(self.total_timesteps, ENOUGH_ROWS)
            return msgspec.structs.replace(settings, buffer_size=min(settings.buffer_size, rows))
        return settings

    @property
    def evaluation_period(self) -> int:
        """Steps between two evaluations of a policy for `env`."""
        return self.eval_freq or max(self.total_timesteps // 10, 1)

    def effective(self, device: Literal["cpu", "cuda"]) -> TrainConfig:
        """Itself with every value that acts: the settings of the chosen algorithm complete, those of the other unset.

        `device`: where gradient steps are computed. The folder is left out, so that a repetition gets one of its own.
        What follows from `total_timesteps` is no part of it: a training that goes on may get another end.
        """
        settings = self.settings
        sac = settings if isinstance(settings, SacSettings) else SacSettings()
        ppo = settings if isinstance(settings, PpoSettings) else PpoSettings()
        starts = self.learning_starts if self.learning_starts is not UNSET else 100 if self.env else 500
        return msgspec.structs.replace(self, sac=sac, ppo=ppo, device=device, out="", learning_starts=starts)
