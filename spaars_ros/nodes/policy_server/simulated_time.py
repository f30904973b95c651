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

"""Check that simulated time advances, or that the simulation reports a held arm."""

from collections.abc import Callable
import time
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.clock import Clock as RosClock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.subscription import Subscription
from rosgraph_msgs.msg import Clock

from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.lifecycle import Refused
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.raw_take import Unspun

CLOCK, HELD = '/clock', 'sim/held'
RECENT = 1.0
"""s on the steady clock since simulated time advanced or the arm was reported as held."""


class SimulatedTime:
    """
    Subscribe to `sim/held`, and refuse a simulated time that does not advance.

    :param held: called with the time in ns at which the simulation holds the arm
    """

    def __init__(self, node: Node, held: Callable[[int], None]) -> None:
        self._node = node
        self._held = held
        self._now, self._alive = 0, -RECENT
        self.subscription = node.create_subscription(Time, HELD, self._on_held, QOS[HELD])
        self._timer = node.create_timer(0.05, self._look,
                                        clock=RosClock(clock_type=ClockType.STEADY_TIME))

    def rest(self, active: bool) -> None:
        """Check the clock only while the node is inactive; the monitors do it while active."""
        if active:
            self._timer.cancel()
        else:
            self._timer.reset()

    def close(self) -> None:
        """Stop checking."""
        self._node.destroy_timer(self._timer)

    def _look(self) -> None:
        now = self._node.get_clock().now().nanoseconds
        if now != self._now and self._now:
            self._alive = time.monotonic()
        self._now = now

    def _on_held(self, msg: Time) -> None:
        self._alive = time.monotonic()
        self._held(msg.sec * NANO + msg.nanosec)

    def refuse_standing(self, wait: float) -> None:
        """
        Raise Refused if simulated time is 0, or stands still and no simulation holds the arm.

        :param wait: s to wait for a simulation that is starting
        """
        if self._node.get_clock().now().nanoseconds and time.monotonic() - self._alive < RECENT:
            return
        group = Unspun()
        clock, held = (self._node.create_subscription(
            kind, topic, lambda msg: None, QOS[topic], callback_group=group)
            for kind, topic in ((Clock, CLOCK), (Time, HELD)))
        try:
            self._wait(clock, held, time.monotonic() + wait)
        finally:
            self._node.destroy_subscription(clock)
            self._node.destroy_subscription(held)

    def _wait(self, clock: 'Subscription[Any]', held: 'Subscription[Any]', end: float) -> None:
        seen = {self._node.get_clock().now().nanoseconds}
        while True:
            message = _taken(clock)
            if message is not None:
                seen.add(message.clock.sec * NANO + message.clock.nanosec)
            stands = _taken(held) is not None
            if len(seen - {0}) > 1 or stands and max(seen) > 0:
                return
            if time.monotonic() >= end:
                break
            time.sleep(0.01)
        if max(seen) <= 0:
            topic = self._node.resolve_topic_name(CLOCK)
            raise Refused(f'use_sim_time, but ROS time is 0: nobody publishes {topic}: start the '
                          'simulation, or set use_sim_time to false')
        raise Refused(f'use_sim_time, but ROS time stands at {max(seen) * 1e-9:.6g} s: is the '
                      'simulation paused?')


def _taken(subscription: 'Subscription[Any]') -> Any:
    """Return the newest waiting message; None if none."""
    newest = None
    with subscription.handle:
        while True:
            found = subscription.handle.take_message(subscription.msg_type, False)
            if found is None:
                return newest
            newest = found[0]
