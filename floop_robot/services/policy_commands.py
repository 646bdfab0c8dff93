"""What a local operator may have a robot do: start, end and label episodes, drain. The rules, whatever asks.

A function raises `CallRefused`, whose text is for the operator, or has its effect. The control loop acts on it in its
next step.
"""

from __future__ import annotations

import math
import re
from typing import Final

from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.estop_socket import ReadEstop, ask_robot
from floop_robot.robot.loop_interface import EndRequest, LoopInterface
from floop_robot.robot.messages import StartCommand
from floop_robot.services.policy import INACTIVE, PolicyProcess
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.errors import CallRefused
from floop_robot.spec.records import Event, Label, OutcomeCode
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.wall_clock import wall_clock_ns

MAX_TEXT: Final = 2000
_BOOT_ID = re.compile("[0-9a-f]{16}")


def active_interface(process: PolicyProcess) -> LoopInterface:
    """The interface of the running control loop."""
    if not process.is_active or process.interface is None:
        raise CallRefused(INACTIVE)
    return process.interface


def check_start(process: PolicyProcess, interface: LoopInterface) -> None:
    """Refuse to start an episode by hand where that is impossible."""
    view, drain = process.view, process.drain_state
    if view.state is EpisodeState.RUNNING:
        raise CallRefused(f"episode {view.episode} is running")
    if interface.auto_start and not drain.hold and not view.start_required:
        raise CallRefused("episodes start by themselves here: the parameter episode_start is 'auto'")
    if view.estop:
        raise CallRefused("the e-stop is latched; reset it with reset_estop")
    if drain.drained:
        raise CallRefused(f"the robot is {drain.pause_reason}")
    if not drain.hold and not view.start_required and view.state is not EpisodeState.WAITING:
        raise CallRefused(f"the driver is not ready: {process.waiting_reason(view)}")


def start_after_reset(process: PolicyProcess, who: str) -> None:
    """Let an arm move that was reset. Waits for its safety process, so not for an executor's thread.

    Raises `StorageError` when safety does not answer, `CallRefused` when the arm was stopped again.
    """
    run_dir = process.arguments.run_dir
    state = ask_robot(run_dir, process.robot, ReadEstop()).state
    if state.start_required:
        answer = ask_robot(run_dir, process.robot, StartCommand(who=who, stop_id=state.stop_id))
        if not answer.success:
            raise CallRefused(answer.message)


def has_begun(process: PolicyProcess, episode: int) -> bool:
    """Whether this episode runs, or has run."""
    view = process.view
    return view.episode > episode or (view.episode == episode and view.state is EpisodeState.RUNNING)


def request_end(process: PolicyProcess, outcome: int, who: str, why: str) -> EndRequest:
    """Have the running episode end with an `OutcomeCode`; returns what the control loop got."""
    interface, view = active_interface(process), process.view
    if view.state is not EpisodeState.RUNNING:
        raise CallRefused("no episode runs")
    if outcome not in list(OutcomeCode):
        raise CallRefused(f"outcome {outcome} is none of 0 (success), 1 (timeout), 2 (aborted)")
    text = f"{who}: {why}" if why else who
    request = EndRequest(episode=view.episode, outcome=OutcomeCode(outcome), why=text)
    interface.request_end(request)
    return request


def write_label(process: PolicyProcess, boot_id: str, episode: int, success: bool, who: str, comment: str) -> None:
    """Write a label of an episode that has ended into the spool; `uploader.is_durable` says when the disk has it."""
    if not _BOOT_ID.fullmatch(boot_id):
        raise CallRefused(f"boot_id {boot_id!r} is none: it has 16 digits from 0 to f, as in EpisodeResult")
    if not 0 < episode <= MAX_INT:
        raise CallRefused(f"say which episode: numbers go from 1 to {MAX_INT}")
    if boot_id == process.boot_id and episode >= process.next_episode:
        raise CallRefused(f"episode {episode} has not ended yet")
    if max(len(comment), len(who)) > MAX_TEXT:
        raise CallRefused(f"comment and who may have {MAX_TEXT} characters each")
    label = Label(
        seq=0,
        stamp_ns=wall_clock_ns(),
        episode_boot_id=boot_id,
        episode=episode,
        success=success,
        author=who,
        comment=comment,
    )
    if not process.uploader.put(label):
        raise CallRefused("the robot's spool is full; is ingest reachable?")


def set_drain(process: PolicyProcess, robot: str, drain: bool, wait_s: float) -> None:
    """Drain the robot, or end its drain and hold; raises `StorageError` where the disk can't keep it."""
    state = process.drain_state
    if robot not in ("", process.robot):
        raise CallRefused(f"this is {process.robot}, not {robot}")
    if not math.isfinite(wait_s) or wait_s < 0.0:
        raise CallRefused("wait_s must be a number of seconds, 0 or more")
    if not drain and state.by_fleet_manager and not state.by_local_operator and not state.hold:
        raise CallRefused(f"{process.robot} is {state.pause_reason}; it alone can end that")
    state.set_local_drain(drain)


def check_task(
    process: PolicyProcess, task: str, object_class: str, time_limit_s: float, ready_timeout_s: float
) -> None:
    """Refuse a task that this robot can not do now."""
    own = process.rules.spec.id
    if task not in ("", own):
        raise CallRefused(f"this robot works at {own}, not {task}")
    if object_class and object_class not in OBJECT_CLASSES:
        raise CallRefused(f"unknown class {object_class!r}; known: {', '.join(OBJECT_CLASSES)}")
    if not all(math.isfinite(s) and s >= 0.0 for s in (time_limit_s, ready_timeout_s)):
        raise CallRefused("time_limit_s and ready_timeout_s must be numbers of seconds, 0 or more")
    if process.view.estop:
        raise CallRefused("the e-stop is latched")
    if process.drain_state.drained:
        raise CallRefused(f"the robot is {process.drain_state.pause_reason}")


def record_event(process: PolicyProcess, name: str, detail: str) -> None:
    """Keep with the robot's records what a person did."""
    process.uploader.put(Event(seq=0, stamp_ns=wall_clock_ns(), name=name, detail=detail[:MAX_TEXT]))
