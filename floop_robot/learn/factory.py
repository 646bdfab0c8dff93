"""Models for a policy space, made from settings."""

from __future__ import annotations

import numpy as np
from torch import nn

from floop_robot.learn.ppo import FloopPPO
from floop_robot.learn.sac import FloopSAC
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.rlpd_buffer import RlpdReplayBuffer
from floop_robot.spec.default_settings import TASK_PPO, TASK_SAC
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings


def sac_kwargs(settings: SacSettings, seed: int) -> dict[str, object]:
    """Constructor arguments of stable-baselines3's SAC."""
    return {
        "learning_rate": settings.learning_rate,
        "gamma": settings.gamma,
        "tau": settings.tau,
        "batch_size": settings.batch_size,
        "ent_coef": settings.ent_coef,
        "target_entropy": "auto" if settings.target_entropy is None else settings.target_entropy,
        "policy_kwargs": {"net_arch": list(settings.net_arch)},
        "buffer_size": 1,
        "seed": seed,
        "device": "cpu",
    }


def build_sac(space: PolicySpace, settings: SacSettings, seed: int) -> tuple[FloopSAC, RlpdReplayBuffer]:
    """An untrained SAC on normalized observations, with its replay buffer; unset fields as for floop's own tasks."""
    settings = settings.over(TASK_SAC)
    model = FloopSAC.for_spaces(space.normalized_observation, space.normalized_action, **sac_kwargs(settings, seed))
    model.value_range, model.imitation_weight = settings.value_range, settings.imitation_weight
    model.actor_uses_target_critics = settings.actor_uses_target_critics
    replay = RlpdReplayBuffer(
        space.normalized_observation,
        space.normalized_action,
        space.normalizer,
        settings,
        seed,
    )
    model.replay_buffer = replay
    return model, replay


def make_rng(seed: int) -> np.random.Generator:
    """The random generator of a run; stable-baselines3 uses global ones beside it."""
    return np.random.default_rng((seed, 0xF100))


def build_ppo(space: PolicySpace, settings: PpoSettings, seed: int) -> FloopPPO:
    """An untrained PPO on normalized observations; unset fields as for floop's own tasks."""
    settings = settings.over(TASK_PPO)
    return FloopPPO.for_spaces(
        space.normalized_observation,
        space.normalized_action,
        learning_rate=settings.learning_rate,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        n_steps=settings.n_steps,
        batch_size=settings.batch_size,
        n_epochs=settings.n_epochs,
        clip_range=settings.clip_range,
        ent_coef=settings.ent_coef,
        vf_coef=settings.vf_coef,
        target_kl=settings.target_kl,
        policy_kwargs={
            "net_arch": list(settings.net_arch),
            "log_std_init": settings.log_std_init,
            "activation_fn": nn.ReLU,
            "ortho_init": True,
        },
        seed=seed,
        device="cpu",
    )
