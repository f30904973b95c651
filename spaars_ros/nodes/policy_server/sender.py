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


"""Send commands, and keep the last one with its time and the stamp that it answers."""

from collections.abc import Callable
import time

from rclpy.task import Future

from spaars_ros.control.supervisor import Supervisor
from spaars_ros.data.schema import Array
from spaars_ros.nodes.policy_server.command_writer import CommandWriter
from spaars_ros.safety.monitors.monitors import Monitors

BRAKING_TIME = 2.0  # s: maximum duration of the braking profile on deactivate


class CommandSender:
    """
    Send the commands of one activation, and report each to the monitors.

    :param period: control period in s
    :param now: returns the time of the node's clock in ns
    """

    def __init__(self, writer: CommandWriter, monitors: Monitors, supervisor: Supervisor, *,
                 period: float, now: Callable[[], int]) -> None:
        self._writer = writer
        self._monitors = monitors
        self._supervisor = supervisor
        self._period = period
        self._now = now
        self.stamp = 0
        """ns, stamp of the joint_states that the last command answers."""
        self.command: Array | None = None
        """(d,) rad/s, last command; None: nothing was sent, or something else moves the arm."""
        self.at = time.monotonic()
        """s on the monotonic clock, time of the last command."""
        self._braking: 'Future[bool] | None' = None
        writer.start()

    def start(self) -> None:
        """Restart position commands at the next measured position."""
        self._writer.start()

    def send(self, command: Array | None, stamp: int | None = None,
             at: float | None = None) -> None:
        """
        Send a command (d,) rad/s; None: nothing, because something else moves the arm.

        :param stamp: stamp in ns of the joint_states that it answers; None: that of the last one
        :param at: s on the monotonic clock, begin of the tick; None: now
        """
        self.stamp = self.stamp if stamp is None else stamp
        self.command = command
        begin = time.monotonic() if at is None else at
        if command is not None:
            state = self._supervisor.state
            self._writer.send(command, None if state is None else state.position, self.stamp)
            self.at = time.monotonic()
        # The command is sent: the rest does not delay it.
        self._monitors.commanded(self._monitors.time(self._now(), begin), command)
        if self._braking is not None and self._supervisor.latch.stop is not None:
            self._braking.set_result(command is not None)
            self._braking = None

    def again(self, position: Array | None) -> None:
        """Send the last command again, as the answer to a measured position (d,) rad."""
        assert self.command is not None
        self._writer.send(self.command, position, self.stamp)

    def braking(self) -> 'Future[bool]':
        """Return a future, done once a command is sent while a stop is latched."""
        self._braking = self._braking or Future()
        return self._braking

    def come_to_rest(self) -> None:
        """Brake along the profile, at most `BRAKING_TIME`; the last command sent is zero."""
        end = time.monotonic() + BRAKING_TIME
        while True:
            command = self._supervisor.brake()
            if time.monotonic() > end:
                command = command * 0.0
            self.send(command)
            if not command.any():
                return
            time.sleep(self._period)
