"""Bad input: one clear line that says what, where and what to do; a non-zero exit; nothing half-written."""

from __future__ import annotations

import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from floop_robot.cli.main import COMMANDS
from floop_robot.spec.errors import UnknownName
from tests.support.cli_in_process import PICK, Floop, damaged_bundles

UNWRITABLE = Path("/sys/floop")
"""Not even root may write there."""
SAID_OF = {
    "truncated": "fetch it again",
    "nan": "NaN",
    "shape": "as its architecture says",
    "text": "is no policy bundle: it is a text; give a .floop file",
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("statsu", "did you mean 'status'?"),
        ("train --sed 1", "--seed"),
        ("train --algo td3", "'sac', 'ppo'"),
        ("train --task floop/Pik-v0", "unknown task 'floop/Pik-v0'; did you mean 'floop/Pick-v0'?"),
        ("train --env Nope-v0", "unknown Gymnasium environment 'Nope-v0'"),
        ("train --env Pendulm", "did you mean 'Pendulum-v1'?"),
        ("train --env CartPole-v1", "acts by Discrete(2); floop train needs continuous actions"),
        ("train --env Pendulum-v1 --demonstrations 30", "no demonstrations of Pendulum-v1; leave out --demonstrations"),
        ("train --steps -1", "x>=0"),
        ("train --steps 1e4", "'1e4' is no whole number; give one from 0 on. See"),
        ("train --steps 0", "total_timesteps is 0 and there are no demonstrations"),
        ("train --loop --steps 9", "--steps can't be used with --loop; leave it out"),
        ("train --until-success 0", "use a share above 0"),
        ("train --seed 4294967296", "0<=x<=4294967295"),
        ("train --set sac.gama=0.9", "unknown field 'sac.gama' in --set; did you mean 'sac.gamma'?"),
        ("train --set sac.net_arch=[]", "sac.net_arch"),
        ("train --set sac.value_range=[2,1]", "value_range is [2.0, 1.0]; write the smaller number first"),
        ("train --set sac.gamma=9", "sac.gamma: expected a number <= 1.0 (9)"),
        ("train --set sac.gamma", "write --set FIELD=VALUE"),
        ("train --set sac.gamma=0.9 --set sac.gamma=0.8", "--set sac.gamma is there twice; leave out one"),
        ("train --set sac.gamma=[", "--set sac.gamma=[, line 1"),
        ("train --algo ppo --set sac.gamma=0.98", "sac.gamma is 0.98, but does nothing with algo ppo; leave it out"),
        ("train --env Pendulum-v1 --set randomize=true", "randomize is true, but does nothing with env Pendulum-v1"),
        ("train --env Pendulum-v1 --set clone.noise=0.1", "clone.noise is 0.1, but does nothing with env Pendulum-v1"),
        ("train --env Pendulum-v1 --robot ur5e", "robot is ur5e, but does nothing with env Pendulum-v1"),
        ("train --env Pendulum-v1 --task floop/Pick-v0", "task is floop/Pick-v0 and env is Pendulum-v1; leave out one"),
        ("train --set clone.noise=0.1", "clone.noise is 0.1, but does nothing without demonstrations"),
        ("train --set sac.n_sampled_goal=2", "sac.n_sampled_goal is 2, but does nothing without env"),
        ("train --set eval_freq=2", "eval_freq is 2, but does nothing without env"),
        ("train --n-envs 4 --set episodes_per_batch=2", "episodes_per_batch is 2, less than n_envs 4"),
        ("train --set sac.ent_coef=auto_x", "ent_coef is 'auto_x'; write a number, auto, or auto_X with a start value"),
        ("train --set sac.batch_size=100000000", "sac.batch_size: expected a whole number <= 65536 (100000000)"),
        ("train --set sac.target_entropy=1e300", "sac.target_entropy: expected a number <= 1000000.0 (1e+300)"),
        ("train --algo ppo --set ppo.log_std_init=99", "ppo.log_std_init: expected a number <= 2.0 (99)"),
        ("train --algo ppo --set ppo.vf_coef=.inf", "ppo.vf_coef: expected a number <= 1000000.0 (inf)"),
        ("train --algo ppo --set ppo.batch_size=4096", "ppo.batch_size is 4096, more than ppo.n_steps 2048"),
        ("train --seed 4294967295 --seeds 2", "the last of 2 seeds is 4294967296; use --seed 4294967294 or less"),
        ("train --seed 3 --set seed=4", "--seed and --set seed say the same"),
        ("train --resume nowhere", "there is no training to resume in nowhere"),
        ("train --resume nowhere --algo ppo", "--algo can't be used with --resume"),
        ("train --robot ur5e", "robot ur5e cannot be simulated: its URDF lacks"),
        ("train --robot pandaa", "did you mean 'panda'?"),
        ("train --demonstrations abc", "'abc' is no whole number; give one from 0 on."),
        ("train --taks x", "No such option '--taks'. Did you mean '--task'? See"),
        ("check fleet fleet.yaml", "No such command 'fleet'; known: bundle, config, driver, env, robot."),
        ("up fleet.yaml", "unexpected extra argument (fleet.yaml); give it as --config fleet.yaml."),
        ("status runs/a/floop.yaml", "give it as --config runs/a/floop.yaml."),
        ("validate", "Missing argument 'BUNDLE'. See `floop validate --help`."),
        ("validate nope.floop", "cannot read nope.floop: No such file or directory; check the path"),
        (f"validate {PICK} --task floop/Pik-v0", "did you mean 'floop/Pick-v0'?"),
        (f"validate {PICK} --focus baskett", "did you mean 'basket'?"),
        ("play --shift new-objct", "did you mean 'new-object'?"),
        ("play --scenario nope.json", "cannot read nope.json: No such file or directory; give the JSON"),
        ("play --out clip.bmp", "use a name that ends in .gif, .mp4 or .png"),
        ("play --seed -1", "0<=x<=9999"),
        ("demo --no-ros --shift new-objct", "did you mean 'new-object'?"),
        ("demo --no-ros --task floop/Pik-v0", "did you mean 'floop/Pick-v0'?"),
        (f"demo --no-ros --task floop/PickPlace-v0 --baseline {PICK}", "(floop/PickPlace-v0, "),
        ("demo --no-ros --shift-robots robot_2,robot_5", "unknown robot 'robot_5' in this fleet"),
        ("demo --no-ros --shift-robots ,", "unknown robot '' in this fleet; known: robot_1, "),
        ("demo --no-ros --robots 0", "1<=x<=16"),
        ("demo --no-ros --baseline nope.floop", "cannot read nope.floop"),
        ("bench shift_recovry", "did you mean 'shift_recovery'?"),
        ("status", "no fleet was started here (no runs/*/floop.yaml); "),  # and where one runs, or what to give
        ("health", "no fleet was started here (no runs/*/floop.yaml); "),
        ("rollback one", "See `floop rollback --help`."),
        ("rollback v0", "'v0' is no policy version; give a number from 1 on, as in v12"),
        ("pin fleet v0", "'v0' is no policy version"),
        ("hold --if-version 0", "'0' is no policy version"),
        ("push v0", "cannot read v0"),
        ("push nope.floop", "cannot read nope.floop"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_to_do(words: str, expected: str, floop: Floop, tmp_path: Path) -> None:
    assert expected in floop(*words.split()).error
    assert not list(tmp_path.iterdir()), "something half-written"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_and_names_a_mistyped_option(command: str, floop: Floop) -> None:
    explained = floop(command, "--help")
    assert explained.status == 0
    assert f"Usage: floop {command}" in explained.out
    assert f"See `floop {command} --help`." in floop(command, "--no-such-option").error


@pytest.mark.parametrize("kind", ["truncated", "nan", "shape", "text"])
@pytest.mark.parametrize("command", ["validate", "validate --against", "play", "demo --no-ros --headless --baseline"])
def test_a_damaged_bundle_is_named_and_refused(kind: str, command: str, floop: Floop, tmp_path: Path) -> None:
    path = damaged_bundles(tmp_path)[kind]
    before = set(tmp_path.iterdir())
    words = command.split()
    error = floop(words[0], *([PICK] if "--against" in words else []), *words[1:], path).error
    assert path.name in error
    assert SAID_OF[kind] in error
    assert set(tmp_path.iterdir()) == before


def test_another_contract_is_refused_with_both_sides(floop: Floop) -> None:
    error = floop("validate", PICK, "--task", "floop/PickPlace-v0").error
    assert "(floop/Pick-v0, 37 observations, 5 actions)" in error
    assert "(floop/PickPlace-v0, 42 observations, 5 actions)" in error


def test_of_very_many_names_only_the_nearest_are_listed() -> None:
    error = str(UnknownName("thing", "zzz_qq", [f"thing_{i}" for i in range(500)] + ["zz_top"]))
    assert error.startswith("unknown thing 'zzz_qq'; ") and "zz_top" in error and len(error) < 120
    assert str(UnknownName("thing", "zzz", ["a", "b"])) == "unknown thing 'zzz'; known: a, b"


def test_a_zip_is_not_opened_without_trust(floop: Floop, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as made:
        made.writestr("data", "{}")
        made.writestr("policy.pth", "")
    (tmp_path / "text.zip").write_text("anything")
    for command in ("validate", "play", "check bundle"):
        assert "give --trust" in floop(*command.split(), "model.zip").error
        assert "it is a text" in floop(*command.split(), "text.zip", "--trust").error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("robot:\n  servo_rate: 50\n", "'servo_rate' in floop.yaml at robot; did you mean 'servo_rate_hz'?"),
        ("robot:\n  servo_rate_hz: 10\n", "robot.servo_rate_hz: 10 is too slow: policies of floop/Pick-v0 send"),
        ("robots: four\n", "robots: expected a whole number, got a text"),
        ("robots: [\n", "not valid YAML"),
        ("learner:\n  algo: td3\n", "use sac or ppo"),
        ("task: floop/Pik-v0\n", "floop.yaml: task: unknown task 'floop/Pik-v0'; did you mean 'floop/Pick-v0'?"),
        ("\x00\x01", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_bad_configuration_names_file_and_field(text: str, expected: str, floop: Floop, tmp_path: Path) -> None:
    (tmp_path / "floop.yaml").write_text(text)
    error = floop("status", "--config", "floop.yaml").error
    assert "floop.yaml" in error
    assert expected in error


def test_an_unknown_robot_is_said_before_anything_starts(floop: Floop, tmp_path: Path) -> None:
    (tmp_path / "floop.yaml").write_text("robot: {model: pandda}\n")
    assert "did you mean 'panda'" in floop("up", "--no-ros", "--config", "floop.yaml").error
    assert [path.name for path in tmp_path.iterdir()] == ["floop.yaml"]


def test_a_bad_recipe_names_the_nearest_field(floop: Floop, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("demonstration: 3\n")
    assert "did you mean 'demonstrations'?" in floop("train", "--recipe", "mine.yaml").error
    assert "cannot read other.yaml" in floop("train", "--recipe", "other.yaml").error


def test_a_fleet_that_does_not_answer_is_said_so(floop: Floop, tmp_path: Path) -> None:
    (tmp_path / "floop.yaml").write_text("endpoints:\n  base_port: 1024\n")
    error = floop("policies", "--config", "floop.yaml").error
    assert "no fleet manager answers at tcp://127.0.0.1:1029" in error


def test_where_nothing_may_be_written(floop: Floop, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (
        ("train", "--out", UNWRITABLE),
        ("train", "--out", "file"),
        ("play", "--out", UNWRITABLE / "clip.gif"),
        ("demo", "--no-ros", "--headless", "--report", UNWRITABLE / "report.json"),
        ("demo", "--no-ros", "--headless", "--report", tmp_path),
    ):
        assert str(words[-1]) in floop(*words).error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Files may not grow beyond 3 kB: the disk takes the configuration, and not the policy."""
    recipe = tmp_path / "short.yaml"
    recipe.write_text("total_timesteps: 120\nlearning_starts: 50\nfinal_episodes: 1\nselection_episodes: 1\n")
    ended = subprocess.run(
        [sys.executable, "-m", "floop_robot.cli", "train", "--recipe", str(recipe), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
        timeout=100,
        check=False,
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("floop: cannot write")
    assert "free space" in last
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left <= {".lock", "config.yaml", "monitor.csv", "training.rows"}, "no policy, and free again"
