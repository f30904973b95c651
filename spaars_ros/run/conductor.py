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

"""Conductor of a run: activates its nodes in order, monitors them and deactivates them."""

from collections.abc import Sequence
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from spaars_ros.data.files import WHILE
from spaars_ros.interrupts import Interrupts
from spaars_ros.ros.security import enclave_arguments
from spaars_ros.run.bringup import Processes
from spaars_ros.run.lifecycle_client import ACTIVE
from spaars_ros.run.lifecycle_client import INACTIVE
from spaars_ros.run.lifecycle_client import LifecycleClient
from spaars_ros.run.lifecycle_client import LifecycleError
from spaars_ros.run.lifecycle_client import UNCONFIGURED
from spaars_ros.run.lifecycle_client import UNKNOWN
from spaars_ros.run.lifecycle_watch import LifecycleWatch
from spaars_ros.run.liveview import LiveView
from spaars_ros.run.loss_watch import LossWatch
from spaars_ros.run.neighbours import NeighbourError
from spaars_ros.run.neighbours import Neighbours
from spaars_ros.run.run_observer import RunObserver
from spaars_ros.tasks.base import Task

BRING_UP = 60.0
"""s for one node to become active; the learner first loads what was recorded."""
DISCOVERY = 10.0
"""s for the learner to find the policy server; the learner itself reports a failure."""
TAKE_DOWN = 20.0
"""s for one node to deactivate."""
SILENCE = 2.0
"""s without progress after which the learner's lifecycle state is checked."""
SETTLE = 0.5
"""s without a new step after which the learner counts as having received all steps."""
FIRST_STEP = 60.0
"""s for the first step of the policy server; without one the run ends."""
REASON = 3.0
"""s to wait for diagnostics (published at 1 Hz) that say why the learner stopped learning."""


class ConductorError(RuntimeError):
    """Run cannot continue; the message is for the operator."""


class Conductor:
    """
    Lifecycle manager of the nodes of one run.

    :param names: the nodes in order of activation
    :param processes: processes of the nodes, None where another process has started them
    :param autostart: activate the nodes; False: wait until somebody else does
    :param stop_timeout: s that a latched stop may last before the run ends, 0 for no limit
    :param run: token that the nodes of the run carry; no other node is changed
    """

    def __init__(self, names: Sequence[str], *, task: Task, view: LiveView,
                 interrupts: Interrupts, processes: Processes | None = None,
                 namespace: str = '', autostart: bool = True, stop_timeout: float = 0.0,
                 run: str = '') -> None:
        self.names = list(names)
        self.view = view
        self.processes = processes
        self.autostart = autostart
        self.stop_timeout = stop_timeout
        self._interrupts = interrupts
        self._context = rclpy.Context()
        # No signal handlers of rclpy: they would end the context before the nodes are deactivated.
        enclave = enclave_arguments('conductor')
        # No log files: the conductor needs none, and the home directory may not be writable.
        rclpy.init(args=['--ros-args', '--disable-external-lib-logs', *enclave],
                   context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node('conductor', namespace=namespace, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.observer = RunObserver(self._node, task, view.state)
        self._watch = LifecycleWatch(self._node, self.names)
        self._client = LifecycleClient(self._node, self._executor, self._alive, run,
                                       self._watch.has_ended)
        self._neighbours = Neighbours(self._node, run, self._client.spin)
        self._losses = LossWatch(self.names, lambda name: self._client.state(name, 1.0))
        self._patience = 1
        self._looked = 0.0
        self._leaving = False

    def close(self) -> None:
        """Destroy the node and its context."""
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def refuse_others(self) -> None:
        """Raise ConductorError when another run has nodes of these names; changes none of them."""
        try:
            self._neighbours.refuse(self.names)
        except NeighbourError as error:
            raise ConductorError(str(error)) from None

    def bring_up(self) -> None:
        """Activate the nodes in order; raises ConductorError that names the node that failed."""
        for name in self.names:
            try:
                if self.autostart:
                    if name == 'policy_server' and 'learner' in self.names:
                        self._client.configure(name, BRING_UP)
                        self._await_learner()
                    self._client.bring_up(name, BRING_UP)
                else:
                    self._client.wait_until_active(name)
            except LifecycleError as error:
                raise ConductorError(self._with_last_words(str(error), name)) from None

    def _await_learner(self) -> None:
        """
        Wait until the learner has found the policy server, before anything moves.

        Discovery can take seconds. In that time a simulated arm that runs faster than real time
        could finish a short run before anything is learned.
        """
        end = time.monotonic() + DISCOVERY
        while not self.observer.learner_hears and time.monotonic() < end:
            self._client.spin(0.02)

    def watch(self) -> str:
        """
        Monitor the run until all its episodes are done and learned from; return why it ended.

        :raises ConductorError: a node was lost or changed from outside, recording or learning
            failed, the robot stayed stopped too long, or no step came within `FIRST_STEP` s
        :raises Interrupted: the operator requested the end
        """
        began = time.monotonic()
        while True:
            self._client.spin(0.02)
            self.view.update()
            now = time.monotonic()
            observer = self.observer
            if self._watch.complaint:
                raise ConductorError(self._watch.complaint)
            if WHILE in observer.stop:  # a reset cannot clear it
                raise ConductorError(f'the run cannot be recorded any more: {observer.stop}; '
                                     '--resume continues from what was recorded')
            if self.stop_timeout and observer.stop \
                    and now - observer.stopped_at > self.stop_timeout:
                raise ConductorError(f'the robot stopped and stayed stopped: {observer.stop}; '
                                     'once its cause is gone, continue with --resume')
            if observer.asking:
                began = now  # no time limit for an operator who is asked to reset
            if not observer.heard_step and not observer.budget_done and now - began > FIRST_STEP:
                raise ConductorError(
                    f'no step of the policy server within {FIRST_STEP:.0f} s: '
                    f'{observer.stop or self.view.state.message or "are there joint_states?"}')
            if 'NO_JOINT_STATES' in observer.stop:  # nothing has moved: there is nothing to resume
                raise ConductorError(f'the robot never spoke: {observer.stop}')
            if observer.learner_fault and (
                    observer.learner_words or now - observer.faulted_at > REASON):
                raise ConductorError(
                    f'learner: {observer.learner_words or "it stopped learning"}')
            lost = self._losses.complaint(observer.heard, now)
            if lost:
                raise ConductorError(lost)
            if observer.budget_done and not observer.learner_fault:
                self.view.state.phase = 'finishing'
                if 'learner' not in self.names or (
                        observer.learner_done and now - observer.heard_step > SETTLE):
                    lost = self._losses.at_the_end()
                    if lost:
                        raise ConductorError(lost)
                    return 'budget done'
            if 'learner' in self.names and now - observer.heard_learner > SILENCE \
                    and now - self._looked > SILENCE:
                self._revive_learner()

    @property
    def node(self) -> Node:
        """Return the node that `look` spins."""
        return self._node

    def look(self) -> None:
        """Handle messages of the nodes; raises ConductorError when one is no longer active."""
        self._client.spin(0.1)
        if self._watch.complaint:
            raise ConductorError(self._watch.complaint)
        self.view.update()

    def hold(self) -> None:
        """Keep the nodes active until the operator interrupts."""
        while True:
            self.look()

    def take_down(self) -> None:
        """
        Deactivate, then clean up the nodes in reverse order.

        :raises Interrupted: the operator requested the end again
        """
        self._patience = self._interrupts.requested + 1
        # A dead node, which may be why the run ends, must not prevent stopping the others.
        self._leaving = True
        self.view.state.phase = 'stopping'
        self.view.update(now=True)
        dead = self.processes.poll(respawn=False) if self.processes else {}
        names = [name for name in self.names if name not in dead]
        # Nodes of a launch file get the same signal as the conductor and may have ended already.
        states = self._client.states(names, leaving=True)
        there = [name for name in reversed(names) if states[name] != UNKNOWN]
        # Deactivate all before the first one closes its files; the report reads them.
        for step in (self._client.take_down, self._client.clean_up):
            for name in there:
                try:
                    step(name, TAKE_DOWN)
                except (LifecycleError, ConductorError) as error:
                    self.view.say(f'while stopping: {error}')

    def _revive_learner(self) -> None:
        """Activate a learner that was restarted; the robot continued without it."""
        self._looked = time.monotonic()
        state = self._client.state('learner', 0.5)
        if state == ACTIVE:
            return
        self.view.state.message = 'learner gone: the robot continues with its last bundle'
        if state in (UNCONFIGURED, INACTIVE) and self.autostart:
            try:
                self._client.bring_up('learner', BRING_UP)
            except LifecycleError as error:
                raise ConductorError(self._with_last_words(str(error), 'learner')) from None
            self.view.state.message = ''
        self._looked = time.monotonic()

    def _alive(self) -> None:
        """Raise Interrupted on the operator's request, ConductorError for a node that died."""
        # Update the view here, too: a killed learner can need a dozen episodes to come back.
        self.view.update()
        self._interrupts.check(self._patience)
        if self._leaving:
            return
        dead = self.processes.poll() if self.processes else {}
        for name, code in dead.items():
            raise ConductorError(self._with_last_words(
                f'{name}: its process ended with code {code}', name))

    def _with_last_words(self, text: str, name: str) -> str:
        words = self.processes.last_words(name) if self.processes else ''
        return f'{text}; it said last:\n{words}' if words else text
