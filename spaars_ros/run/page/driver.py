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

"""Taking over from the page: the handle on the tip, and the way home."""

from collections.abc import Callable
import threading
import time

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.run.page.link import Link

RATE = 30.0
"""Hz of what is sent while a person drives."""
HELD = 1.0
"""s that the handle counts as held after it moved last: a browser that dies lets go."""
GAIN = 2.0
"""1/s; the tip goes for the handle, and stops there."""
SPEED = 0.1
"""m/s at most."""
HOME_GAIN = 1.0
HOME_SHARE = 0.1
"""Of the velocity limits, on the way home."""
AT_HOME = 0.02
"""rad of each joint."""
HOME_TIME = 60.0
"""s, at most, on the way home."""
RELEASES = 3
"""Messages that the switch is let go, before it is held and after: one may be lost."""


class Driver:
    """
    Drives the arm while a person holds the handle, or until it is home.

    :param tip: returns the tip (3,) m now, None while nothing was heard of the arm
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
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Let go, and end."""
        self.release()
        self._ending.set()
        self._thread.join(1.0)

    @property
    def active(self) -> str:
        """Return what is driven: handle, home or ''."""
        with self._lock:
            return 'handle' if self._goal is not None else 'home' if self._home_since else ''

    def pull(self, goal: Array) -> None:
        """Have the tip follow the handle at goal (3,) m."""
        with self._lock:
            self._begin()
            self._goal, self._moved, self._home_since = goal, time.monotonic(), 0.0

    def home(self) -> None:
        """Drive the joints home."""
        with self._lock:
            self._begin()
            self._goal, self._home_since = None, time.monotonic()

    def _begin(self) -> None:
        """Show the switch released first: one that a server hears held first may be stuck."""
        if self._goal is None and not self._home_since:
            self._releases = RELEASES

    def release(self) -> None:
        """Let go: the arm is the policy's again."""
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
        """Return the twist (6,) that closes an error (3,) m."""
        velocity = GAIN * error
        speed = float(np.linalg.norm(velocity))
        return np.concatenate([velocity * min(1.0, SPEED / speed) if speed else velocity,
                               np.zeros(3)])

    def _homewards(self, position: Array) -> Array | None:
        """Return joint velocities (d,) rad/s along the straight way home, None when there."""
        error = np.asarray(self._robot.home) - position
        if np.abs(error).max() < AT_HOME:
            return None
        velocity = HOME_GAIN * error
        most = HOME_SHARE * np.asarray(self._robot.limits.velocity)
        return np.asarray(velocity / max(1.0, float((np.abs(velocity) / most).max())))
