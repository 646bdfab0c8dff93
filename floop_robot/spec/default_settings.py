"""Default hyper-parameters: the lowest layers, for any environment, for floop's own tasks, and for a fleet.

Own environments get values that suit any reward. The rewards of floop's tasks are shaped for others.
"""

from __future__ import annotations

from typing import Final

from floop_robot.spec.hyperparameters import PpoSettings, SacSettings

ENV_SAC: Final = SacSettings(
    net_arch=(64, 64),
    learning_rate=1e-3,
    gamma=0.98,
    tau=0.01,
    batch_size=256,
    ent_coef="auto",
    target_entropy="auto",
    value_range=None,
    reward_scale=1.0,
    average_steps=500,
    prior_fraction=0.5,
    rare_fraction=0.0,
    imitation_weight=0.0,
    actor_uses_target_critics=False,
    settled_lr_factor=1.0,
    utd_ratio=2.0,
    utd_ratio_known=0.25,
    buffer_size=1_000_000,
    n_sampled_goal=4,
)
"""SAC for any environment."""

TASK_SAC: Final = SacSettings(
    gamma=0.97,
    ent_coef="auto_0.1",
    value_range=(-8.0, 12.0),
    reward_scale=0.2,
    rare_fraction=0.5,
    buffer_size=50_000,
).over(ENV_SAC)
"""SAC for floop's own tasks."""

FLEET_SAC: Final = SacSettings(tau=0.02, imitation_weight=2.0, actor_uses_target_critics=True, settled_lr_factor=0.3)
"""What a fleet sets in another way than a training: what failed has to succeed soon, and stay so."""

ENV_PPO: Final = PpoSettings(
    net_arch=(64, 64),
    learning_rate=3e-4,
    gamma=0.99,
    gae_lambda=0.95,
    n_steps=2048,
    batch_size=64,
    n_epochs=10,
    clip_range=0.2,
    ent_coef=0.0,
    vf_coef=0.5,
    target_kl=None,
    log_std_init=0.0,
    value_warmup_updates=0,
    max_policy_lag=8,
    imitation_utd_ratio=0.0,
    imitation_learning_rate=3e-4,
)
"""PPO for any environment: the values of stable-baselines3."""

TASK_PPO: Final = PpoSettings(
    gamma=0.97, batch_size=256, target_kl=0.03, log_std_init=-1.6, value_warmup_updates=2
).over(ENV_PPO)
"""PPO for floop's own tasks, started from behavior cloning."""

FLEET_PPO: Final = PpoSettings(n_steps=512, value_warmup_updates=1, max_policy_lag=20, imitation_utd_ratio=1.0)
"""What a fleet sets in another way than a training: what succeeded once is not to be lost again. Policies of the latest
10 s are young enough while it learns."""
