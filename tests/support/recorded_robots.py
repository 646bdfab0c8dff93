"""What simulated robots record with the shipped policy, in a world of the test's choice."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from floop_envs.env import ArmEnv, make_env
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.explore.episode_records import episode_records
from floop_robot.spec.hidden_parameters import HiddenParameters
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import ActMode, Source
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import Block, decode_block, encode_block
from tests.support.sample_policies import TASK
from tests.support.sample_records import stream_info


def recorded_blocks(
    world: HiddenParameters,
    episodes: int,
    robot: str = "robot_1",
    first: int = 0,
    source: Source = Source.ROBOT,
    alter: Callable[[ArmEnv], None] = lambda _: None,
) -> list[Block]:
    """One block for each episode of a robot in `world`; `alter` makes its arm one that no world has."""
    env, actor = make_env(TASK), Bundle.load(baseline(TASK)).actor()
    alter(env)
    ids = ids_of(get_task(TASK), load_robot("panda"))
    info = msgspec.structs.replace(stream_info(robot, source=source), ids=ids)
    blocks, seq = [], 0
    for number, scenario in enumerate(scenarios_of(TrainingScenarios(TASK), Purpose.ROBOT, 3, first + episodes)):
        if number < first:
            continue
        result = run_episode(env, actor, world.apply(scenario), record_trace=True)
        records = episode_records(result, number, 1, ActMode.MEAN, 0)
        blocks.append(decode_block(encode_block(info, seq, records)))
        seq += len(records)
    env.close()
    return blocks
