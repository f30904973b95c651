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

"""Takeover from the page: drive the tip towards the handle, or the joints home."""

from collections.abc import Callable
import threading
import time

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.run.page.link import Link

RATE = 30.0
"""Hz of the commands during a takeover."""
HELD = 1.0
"""s that the handle counts as held after its last motion: a dead browser releases it."""
GAIN = 2.0
"""1/s; proportional gain from the distance to the handle to the tip's velocity."""
SPEED = 0.1
"""m/s; maximum speed of the tip."""
HOME_GAIN = 1.0
"""1/s; proportional gain of the joints on the way home."""
HOME_SHARE = 0.1
"""Maximum fraction of the joint velocity limits on the way home."""
AT_HOME = 0.02
"""rad; the arm is at home when every joint is within this distance."""
HOME_TIME = 60.0
"""s; time limit of the way home."""
RELEASES = 3
"""Messages with the released switch before and after a takeover, because one may be lost."""


class Driver:
    """
    Thread that drives the arm while the operator holds the handle, or until it is home.

    :param tip: returns the present tip position (3,) in m, None before the first joint state
    """

    def __init__(self, link: Link, robot: Robot, tip: Callable[[], Array | None]) -> None:
        self._link, self._robot, self._tip = link, robot, tip
        self._lock = threading.Lock()
        self._goal: Array | None = None
        self._moved = 0.0
        self._home_since = 0.0
        self._releases = RELEASES
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Release the switch and end the thread."""
        self.release()
        self._ending.set()
        self._thread.join(1.0)

    @property
    def active(self) -> str:
        """Return the present motion: handle, home, or '' for none."""
        with self._lock:
            return 'handle' if self._goal is not None else 'home' if self._home_since else ''

    def pull(self, goal: Array) -> None:
        """Drive the tip towards the handle at `goal` (3,) in m."""
        with self._lock:
            self._begin()
            self._goal, self._moved, self._home_since = goal, time.monotonic(), 0.0

    def home(self) -> None:
        """Drive the joints to the home pose."""
        with self._lock:
            self._begin()
            self._goal, self._home_since = None, time.monotonic()

    def _begin(self) -> None:
        """Send the released switch first: one that is held from the start may be stuck."""
        if self._goal is None and not self._home_since:
            self._releases = RELEASES

    def release(self) -> None:
        """Release the switch: the policy acts again."""
        with self._lock:
            if self._goal is not None or self._home_since:
                self._releases = RELEASES
            self._goal, self._home_since = None, 0.0

    def _run(self) -> None:
        while not self._ending.wait(1.0 / RATE):
            self._beat(time.monotonic())
        for _ in range(RELEASES):
            self._link.drive()

    def _beat(self, now: float) -> None:
        with self._lock:
            goal, home = self._goal, self._home_since
            expired = (goal is not None and now - self._moved > HELD) \
                or (home > 0.0 and now - home > HOME_TIME)
        tip, position = self._tip(), self._link.position
        if expired or tip is None or position is None:
            self.release()
        elif (goal is not None or home) and self._releases:
            pass
        elif goal is not None:
            self._link.drive(twist=self._towards(goal - tip))
            return
        elif home:
            velocity = self._homewards(position)
            if velocity is None:
                self.release()
            else:
                self._link.drive(velocity=velocity)
                return
        if self._releases:
            self._releases -= 1
            self._link.drive()

    @staticmethod
    def _towards(error: Array) -> Array:
        """Return the twist (6,) in m/s and rad/s that reduces a position error (3,) in m."""
        velocity = GAIN * error
        speed = float(np.linalg.norm(velocity))
        return np.concatenate([velocity * min(1.0, SPEED / speed) if speed else velocity,
                               np.zeros(3)])

    def _homewards(self, position: Array) -> Array | None:
        """Return joint velocities (d,) in rad/s straight towards home, None when there."""
        error = np.asarray(self._robot.home) - position
        if np.abs(error).max() < AT_HOME:
            return None
        velocity = HOME_GAIN * error
        most = HOME_SHARE * np.asarray(self._robot.limits.velocity)
        return np.asarray(velocity / max(1.0, float((np.abs(velocity) / most).max())))
