# Copyright 2026 The spaars_ros authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Base class of the lifecycle nodes, and their common main function."""

from collections.abc import Callable
from collections.abc import Sequence
import gc
import signal
import sys
import traceback
from types import FrameType
from typing import Any
import warnings

from lifecycle_msgs.msg import State
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from spaars_ros.interrupts import die_with_parent
from spaars_ros.interrupts import end_in_time
from spaars_ros.interrupts import ending_signals
from spaars_ros.interrupts import starter_has_ended
from spaars_ros.interrupts import take_no_more_signals
from spaars_ros.ros.parameters import ParameterError
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.thread_priority import ThreadPriority


class Refused(RuntimeError):
    """Raised if a transition is impossible; the message is one line for the operator."""


class ManagedNode(LifecycleNode):
    """
    Lifecycle node whose hooks raise exceptions instead of returning codes.

    Override `configure`, `activate`, `deactivate` and `cleanup`; the parent's need not be called.
    An exception in a hook fails the transition and is logged: one line for Refused, ValueError
    and OSError, the traceback for any other class. A failed `configure` is undone by `cleanup`.
    Timers and guard conditions of a failed `activate` are destroyed. A failed `deactivate` or
    `cleanup` ends in the unconfigured state (in finalized, if the cleanup fails again). `changed`
    is called with the parameters that were set.

    :param name: node name
    :param table: parameters of the node
    :param overrides: parameter values given in code, for instance by tests
    """

    def __init__(self, name: str, table: ParameterTable, *,
                 overrides: dict[str, Any] | None = None) -> None:
        super().__init__(name, parameter_overrides=[
            Parameter(key, value=value) for key, value in (overrides or {}).items()])
        self.table = table
        self._priority = ThreadPriority()
        table.declare(self)
        self.add_on_set_parameters_callback(lambda params: self.table.check(params))
        self.add_post_set_parameters_callback(self._changed)

    def configure(self) -> None:
        """Load files and create what the node needs."""

    def activate(self) -> None:
        """Start acting."""

    def deactivate(self) -> None:
        """Stop acting; the safe message is the last one sent."""

    def cleanup(self) -> None:
        """Undo `configure`; also called after a `configure` that failed."""

    def changed(self, values: dict[str, Any]) -> None:
        """Apply new parameter values; name -> value of those that were set."""

    @property
    def is_active(self) -> bool:
        """Return whether the node is in the active state."""
        return bool(self._state_machine.current_state[0] == State.PRIMARY_STATE_ACTIVE)

    def values(self) -> dict[str, Any]:
        """Return name -> current value of each parameter."""
        return self.table.values(self)

    def take_priority(self, priority: int) -> None:
        """Run under SCHED_FIFO (see `ThreadPriority.take`); log a warning if not permitted."""
        failed = self._priority.take(priority)
        if failed:
            self.get_logger().warning(failed)

    @staticmethod
    def settle() -> None:
        """
        Collect garbage, and exclude all present objects from later collections.

        A full collection would take several ms in the control loop. Leaving the active state
        ends the exclusion, because excluded objects are never freed.
        """
        gc.collect()
        gc.freeze()

    def destroy_node(self) -> None:
        """Destroy the node, in any state."""
        gc.unfreeze()
        super().destroy_node()

    def finish(self) -> None:
        """Shut the node down from any state; called by `run_node` at the end."""
        state = self._state_machine.current_state[0]
        if state in (State.PRIMARY_STATE_ACTIVE, State.PRIMARY_STATE_INACTIVE,
                     State.PRIMARY_STATE_UNCONFIGURED):
            self.trigger_shutdown()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`."""
        result = self._guarded('configure', self.configure)
        if result != TransitionCallbackReturn.SUCCESS:
            self._guarded('cleanup', self.cleanup)
            self._priority.take(0)
            return result
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`."""
        before = {*self.timers, *self.guards}
        result = self._guarded('activate', self.activate)
        if result == TransitionCallbackReturn.SUCCESS:
            return super().on_activate(state)
        # Otherwise they would continue to fire, twice as often after the next activation.
        for timer in [timer for timer in self.timers if timer not in before]:
            self.destroy_timer(timer)
        for guard in [guard for guard in self.guards if guard not in before]:
            self.destroy_guard_condition(guard)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`."""
        result = self._guarded('deactivate', self.deactivate)
        gc.unfreeze()
        super().on_deactivate(state)
        return self._grave(result)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `cleanup`."""
        result = self._guarded('cleanup', self.cleanup)
        self._priority.take(0)
        super().on_cleanup(state)
        return self._grave(result)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroy all timers and clean up, after a failed `deactivate` or `cleanup`."""
        for timer in list(self.timers):
            self.destroy_timer(timer)
        return self._guarded('cleanup', self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate` when active, then `cleanup`; never fails."""
        if state.state_id == State.PRIMARY_STATE_ACTIVE:
            self._guarded('deactivate', self.deactivate)
            gc.unfreeze()
        if state.state_id != State.PRIMARY_STATE_UNCONFIGURED:
            self._guarded('cleanup', self.cleanup)
        return TransitionCallbackReturn.SUCCESS

    @staticmethod
    def _grave(result: TransitionCallbackReturn) -> TransitionCallbackReturn:
        """Return ERROR for a failure: the node must not stay in the state it was leaving."""
        return (result if result == TransitionCallbackReturn.SUCCESS
                else TransitionCallbackReturn.ERROR)

    def _guarded(self, name: str, hook: Callable[[], None]) -> TransitionCallbackReturn:
        # rclpy silently discards an exception in a transition.
        try:
            hook()
        except (Refused, ValueError, OSError) as error:
            self.get_logger().error(f'{name} refused: {error}')
        except Exception:  # the node stays up and logs the error
            self.get_logger().error(f'{name} failed: {traceback.format_exc()}')
        else:
            return TransitionCallbackReturn.SUCCESS
        return TransitionCallbackReturn.FAILURE

    def _changed(self, parameters: 'list[Parameter[Any]]') -> None:
        names = {parameter.name for parameter in parameters}
        values = {name: value for name, value in self.values().items() if name in names}
        if values:
            self.changed(values)


def _log_warning(message: Warning | str, *where: Any, **line: Any) -> None:
    get_logger('spaars_ros').warning(str(message))


def run_node(factory: Callable[[], ManagedNode], args: Sequence[str] | None = None) -> int:
    """
    Run one node until a signal of `ending_signals`; return the exit code.

    The exit code is 0, or 2 if a parameter is invalid. rclpy's own signal handlers shut the
    context down before a last message can be sent. The handlers here only end the loop; then
    `finish` sends the safe command.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        # No threading.Event: a second signal may interrupt this while its lock is held.
        nonlocal asked
        asked = True

    for number in ending_signals():
        signal.signal(number, ask)
    end_in_time()
    rclpy.init(args=list(sys.argv if args is None else args),
               signal_handler_options=SignalHandlerOptions.NO)
    # For instance warnings about suspicious values in a robot file.
    warnings.showwarning = _log_warning
    try:
        node = factory()
    except ParameterError as error:
        get_logger('spaars_ros').fatal(str(error))
        rclpy.try_shutdown()
        return 2
    if node.has_parameter('run') and node.get_parameter('run').value:
        # Also for ros2 launch, which may be killed: no unattended node may move an arm.
        die_with_parent()
        asked = asked or starter_has_ended()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not asked:
            # Python runs signal handlers between waits, so a wait has to end by itself.
            executor.spin_once(timeout_sec=0.1)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if rclpy.ok():
            node.finish()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
        take_no_more_signals()
    return 0
