"""The policy process of one robot as a managed node: control loop, records out, policies in. No torch, no simulator.

- configure checks configuration, robot, task, driver description and folder, and opens the spool.
- activate runs the control loop.
- deactivate ends the episode as aborted and sends no further target; safety then holds the arm.
- cleanup gives everything up.

All transitions run in the executor's thread, whoever asks for them.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.diagnostics import DiagnosticsPublisher
from floop_robot.ros.node.main import RosProcess, run
from floop_robot.ros.node.node_parameters import AUTOSTART, EPISODE_START, POLICY_PARAMETERS, declare_parameters
from floop_robot.ros.node.parameters import NEEDS_RESTART
from floop_robot.ros.node.robot_parameters import DRIVER, robot_arguments
from floop_robot.ros.policy.execute_task_action import ExecuteTaskServer
from floop_robot.ros.policy.marker_publisher import MarkerPublisher
from floop_robot.ros.policy.policy_publisher import PolicyPublisher
from floop_robot.ros.policy.policy_services import PolicyServices
from floop_robot.ros.policy.policy_session import PolicySession, PolicyTopics
from floop_robot.services.diagnostics import DiagnosticItem
from floop_robot.services.policy import NICE
from floop_robot.services.policy_diagnostics import policy_diagnostics
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.services.supervision.stats_file import WRITE_INTERVAL_S
from floop_robot.spec.errors import FloopError

RETRY_PERIOD_S: Final = 1.0
"""Pause before a node that brings itself up tries again after an error."""
GOAL_CLOSE_S: Final = 0.5
"""At the end, how long clients of the action may take to hear how it ended."""
SHUTDOWN_TIMEOUT_S: Final = 2.0
FINAL_SPIN_S: Final = 0.1
"""How long the executor spins after that, to send the result of a goal that ended in the last moment."""

_SUCCESS, _FAILURE, _ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
log = logging.getLogger(__name__)


class _DesiredState(enum.Enum):
    """What the node wants of itself."""

    NONE = enum.auto()
    ACTIVE = enum.auto()
    """Bring itself up."""
    GONE = enum.auto()
    """Deactivate and clean up: the process ends."""


class PolicyNode(LifecycleNode):
    """Only the executor's thread calls it, except where a method says otherwise."""

    def __init__(self, **ros: Any) -> None:
        super().__init__("policy_node", **ros)
        self._settings = declare_parameters(self, POLICY_PARAMETERS, on_change=self._apply_parameters)
        self.add_on_set_parameters_callback(self._refuse_start)
        self.session: PolicySession | None = None
        self.last_error = ""
        """Why the last transition failed, in one line; empty after a success."""
        self.fatal: FloopError | None = None
        """Why it can't bring itself up as configured: starting the process again would only repeat it."""
        self.gone = threading.Event()
        self._desired = _DesiredState.ACTIVE if self._settings.get(AUTOSTART) else _DesiredState.NONE
        self._due_s = 0.0
        self.condition = AsyncCondition(self, self._look)
        self.publisher = PolicyPublisher(self)
        self._markers = MarkerPublisher(self, lambda: self.session.scene() if self.session else None)
        self._topics = PolicyTopics(self)
        self._calls = PolicyServices(self, self)
        self._tasks = ExecuteTaskServer(self, self)
        self._diagnostics = DiagnosticsPublisher(
            self,
            self.get_namespace().strip("/"),
            self._each_second,
        )
        self._change_state = self._service_change_state.callback
        self._service_change_state.callback = self._on_change_state
        self.condition.notify()

    @property
    def has_goal(self) -> bool:
        """A task is being executed by the action."""
        return self._tasks.is_busy

    def request_shutdown(self) -> None:
        """Deactivate and clean up; `gone` is set when that is done. From any thread."""
        self._desired = _DesiredState.GONE
        self.condition.notify()

    def destroy_node(self) -> None:
        """Leave ROS; what is still open is closed."""
        if "_tasks" in vars(self):  # Kilted destroys a node, too, whose constructor refused a parameter
            if self.session is not None:
                self._take_down(0.0)
            self._tasks.destroy()
        super().destroy_node()

    # Parameters

    def _apply_parameters(self) -> None:
        if self.session is not None and self.session.interface is not None:
            self.session.interface.auto_start = self._settings.get(EPISODE_START) == "auto"

    def _refuse_start(self, wanted: Sequence[Parameter]) -> SetParametersResult:
        """An arm that waits for a call does not begin to start by itself because of a parameter, which has no token."""
        starts = any(each.name == EPISODE_START.name and each.value == "auto" for each in wanted)
        if not starts or self._settings.get(EPISODE_START) == "auto":
            return SetParametersResult(successful=True)
        refusal = f"{EPISODE_START.name}: 'auto' {NEEDS_RESTART}"
        self.get_logger().warning(f"parameter refused: {refusal}")
        return SetParametersResult(successful=False, reason=refusal)

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, check and open; a mistake in the configuration leaves the node unconfigured."""
        return self._attempt("configure", self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run the control loop."""
        return self._attempt("activate", self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the episode, and hold."""
        if state.label == "active" and self._desired is _DesiredState.ACTIVE and self._failure is None:
            self._desired = _DesiredState.NONE  # an operator wants it inactive
        return self._attempt("deactivate", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give up spool, folder and topics."""
        return self._attempt("cleanup", self._take_down)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state: everything down, for good; the process goes on until it is told to stop."""
        self._desired = _DesiredState.NONE if self._desired is _DesiredState.ACTIVE else self._desired
        return self._attempt("shutdown", self._take_down)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Everything down; unconfigured afterwards, and up again by itself where it brought itself up."""
        error = self.last_error
        with contextlib.suppress(Exception):
            self._take_down(0.0)
        self.session, self.last_error = None, error
        self._due_s = time.monotonic() + RETRY_PERIOD_S
        return _SUCCESS

    def _attempt(self, name: str, act: Callable[[], None]) -> TransitionCallbackReturn:
        """Log what goes wrong, in one line where a person can correct it: `LifecycleNode` would drop it."""
        try:
            act()
        except FloopError as error:
            self.last_error = f"{name}: {error}"
            if self._desired is _DesiredState.ACTIVE:
                self.fatal = error
            self.get_logger().error(self.last_error)
            return _FAILURE
        except Exception as error:
            self.last_error = f"{name}: {error or type(error).__name__}"
            self.get_logger().error(f"{name} failed:\n{traceback.format_exc()}")
            return _ERROR
        self.last_error, self.fatal = "", None
        self.get_logger().info(f"{name}: done")
        return _SUCCESS

    def _configure(self) -> None:
        arguments = robot_arguments(self, self._settings)
        self.session = PolicySession(arguments, self._topics, self._settings.get(DRIVER), self._notice)
        self.publisher.publish(self.session, again=True)

    def _activate(self) -> None:
        assert self.session is not None
        self.session.activate(self._settings.get(EPISODE_START) == "auto", self.condition.notify)

    def _deactivate(self) -> None:
        assert self.session is not None
        try:
            self.session.stop()
        finally:
            self.publisher.publish(self.session)
            self.condition.notify()  # whoever waits for an episode

    def _take_down(self, drain_s: float | None = None) -> None:
        session = self.session
        if session is None:
            return
        try:
            if session.is_active:
                self._deactivate()
        finally:
            self.session = None
            session.close() if drain_s is None else session.close(drain_s)

    def _on_change_state(self, request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        """As rclpy does it, but refuse a transition that the state doesn't have: rclpy raises and never answers."""
        try:
            return self._change_state(request, response)
        except Exception as error:
            state = self._state_machine.current_state[1]
            wanted = request.transition.label or str(request.transition.id)
            self.get_logger().warning(f"no transition {wanted} while {state}: {str(error).splitlines()[0]}")
            response.success = False
            return response

    # What it does by itself

    @property
    def _failure(self) -> BaseException | None:
        return self.session.failure if self.session else None

    def _each_second(self) -> Iterable[DiagnosticItem]:
        """Publish the status again, with the diagnostics: each time that the executor wakes up costs a millisecond."""
        self._look(again=True)
        seen = self.session.perception if self.session else None
        return policy_diagnostics(self.session, self._topics.resets, self._topics.safety_refused, self.last_error, seen)

    def _look(self, *, again: bool = False) -> None:
        if self.session is not None:
            self.publisher.publish(self.session, again=again)
        state = self._state_machine.current_state[1]
        if self._failure is not None and state == "active":
            self.get_logger().error("the control loop failed; the node goes through error processing")
            self.trigger_deactivate()
        elif self._desired is _DesiredState.GONE and not self.gone.is_set():
            self._shut_down(state)
        elif self._desired is _DesiredState.ACTIVE and time.monotonic() >= self._due_s and self.fatal is None:
            self._bring_up(state)

    def _bring_up(self, state: str) -> None:
        if state == "unconfigured" and self.trigger_configure() == _SUCCESS:
            state = "inactive"
        if state == "inactive":
            self.trigger_activate()

    def _shut_down(self, state: str) -> None:
        if not self.condition.is_closed:
            self._due_s = time.monotonic() + GOAL_CLOSE_S
            if state == "active":
                self.trigger_deactivate()
            self.condition.close()
            return  # those who wait are answered first
        if self.has_goal and time.monotonic() < self._due_s:
            return  # the goal's end notifies again
        if self._state_machine.current_state[1] == "inactive":
            self.trigger_cleanup()
        self.gone.set()

    def _notice(self, line: str) -> None:
        log.warning(line)
        self.condition.notify()


def serve(ros: RosProcess) -> None:
    """Run until the process is told to stop, or can't come up as configured."""
    raise_priority(NICE)
    node = ros.make(lambda context: PolicyNode(context=context))
    with ros.spinning(node):
        autostart = bool(node.get_parameter(AUTOSTART.name).value)
        while not ros.stop.wait(WRITE_INTERVAL_S):
            if autostart and node.fatal is not None:
                raise node.fatal
            if (session := node.session) is not None:
                session.write_stats()
        node.request_shutdown()
        node.gone.wait(SHUTDOWN_TIMEOUT_S)
        time.sleep(FINAL_SPIN_S)


main = partial(run, "policy_node", serve)

if __name__ == "__main__":
    sys.exit(main())
