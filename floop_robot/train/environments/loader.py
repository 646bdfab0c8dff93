"""Loading an environment by its Gymnasium id, from an installed package or from the folder of the user."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium

from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.train.environments.error_place import error_line, one_line


def load_env(env_id: str) -> gymnasium.Env[Any, Any]:
    """The environment without Gymnasium's checker and time limit: `Id-v0`, `module:Id-v0` or `file.py:Id-v0`.

    A module is looked for in the current folder first. Raises `UnknownName` or, with the error's own text, file and
    line, `ConfigError`.
    """
    module, colon, name = env_id.rpartition(":")
    if colon:
        _import(module, env_id)
    warnings.filterwarnings("ignore", message=".*render_modes")  # nothing is drawn
    warnings.filterwarnings("ignore", message=".*is out of date")  # one that can't be used is an error of its own
    try:
        return gymnasium.make(name, max_episode_steps=_made_limit(name), disable_env_checker=True)
    except gymnasium.error.UnregisteredEnv:
        raise _unknown(env_id, module, name) from None
    except (gymnasium.error.DependencyNotInstalled, gymnasium.error.DeprecatedEnv) as error:
        raise ConfigError(f"{env_id} can't be made: {one_line(error)}") from None
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{env_id} can't be made: {error_line(error)}; mend the environment") from None


def time_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """The step limit that the environment is registered with or wrapped in, None without one."""
    if env.spec is None:
        return None
    registered = gymnasium.registry.get(env.spec.id)
    return env.spec.max_episode_steps or (registered.max_episode_steps if registered else None)


def _made_limit(name: str) -> int | None:
    """-1, no limit: Gymnasium's wrapper would meet a faulty answer first. Other wrappers may look for it: None."""
    registered = gymnasium.registry.get(name)
    return None if registered and registered.additional_wrappers else -1


def _import(module: str, env_id: str) -> None:
    if module.endswith(".py") or "/" in module:
        file = Path(module)
        folder, module = file.resolve().parent, file.stem
        if not file.is_file():
            if _file_of(module).name == file.name:
                return  # it was imported, and its environment changed the current folder
            raise ConfigError(f"env is {env_id!r}, but there is no file {file}; check the path")
    else:
        folder = Path.cwd()
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # Of `pkg.envs`, `pkg` may be missing, too.
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"env is {env_id!r}, but there is no module {error.name!r} in {folder} or among the installed "
                "packages; start floop in its folder, or install it"
            ) from None
        raise ConfigError(f"{module} can't be imported: {error_line(error)}; {_cure(error)}") from None
    own = folder / f"{module}.py"
    if own.is_file() and _file_of(module).resolve() != own.resolve():
        raise ConfigError(f"env is {env_id!r}, but Python has a module {module!r} already; give {own} another name")


def _file_of(module: str) -> Path:
    """The file of a module that is imported; `.` without one."""
    return Path(getattr(sys.modules.get(module), "__file__", None) or ".")


def _cure(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"install {error.name!r}, or mend the import"
    return "mend the module"


def _unknown(env_id: str, module: str, name: str) -> UnknownName:
    known = gymnasium.registry
    if module:
        known = {known_id: spec for known_id, spec in known.items() if _is_of(spec, module)} or known
    unknown = UnknownName("Gymnasium environment", name, known, module)
    if not module:
        unknown.args = (f"{unknown}; for one of your own name its module, too: --env my_module:{env_id}",)
    return unknown


def _is_of(spec: gymnasium.envs.registration.EnvSpec, module: str) -> bool:
    place = spec.entry_point
    home = place if isinstance(place, str) else getattr(place, "__module__", "")
    return home.split(".")[0].split(":")[0] == Path(module).stem.split(".")[0]
