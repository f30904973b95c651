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

"""Commands of a person who holds a dead man's switch. Free of ROS."""

from collections.abc import Callable
from dataclasses import dataclass
import time

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.safety.stop import Stop

MOST_SOURCES = 16
"""Maximum number of known switches; a new one replaces the one with the oldest message."""
FEW = 3
"""Number of commands that may come before the message of their switch, or after it."""
STUCK = 60.0
"""s that a switch may be held without a command before it is reported as stuck."""


@dataclass(frozen=True)
class Wish:
    """The newest command of a person."""

    values: Array
    """A twist (6,), m/s and rad/s, or joint velocities (d,) rad/s."""
    frame: str | None
    """Frame of the twist; None: joint velocities."""
    at: float
    """s on the person's clock when it arrived."""


@dataclass
class _Switch:
    """A dead man's switch of a joystick, a keyboard or a page."""

    held: bool
    armed: bool
    """Whether it was seen released; a switch that was held from the start may be stuck."""
    at: float
    since: float


class Person:
    """
    A person's commands, and whether they are valid.

    A person acts while a dead man's switch is held that was seen released before. The arm obeys a
    command if switch and command were heard of within `age`. Otherwise, or if the newest command
    was invalid, it brakes and stays under the person's control. A held switch that is silent for
    `lost` s is a stop.

    :param joints: d
    :param age: s for which a command or a held switch is valid
    :param lost: s of silence of a held switch that are a stop; 0 for never
    :param clock: s, steady: independent of the robot's time
    """

    def __init__(self, joints: int, *, age: float = 0.5, lost: float = 5.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._joints, self._age, self._lost, self._clock = joints, age, lost, clock
        self._switches: dict[str, _Switch] = {}
        self._wish: Wish | None = None
        self._wished_at = -np.inf
        """Time of the last command, valid or not."""
        self._refused = ''
        self._ignored = 0
        """Number of consecutive commands that came while no switch was held."""
        self.channels: dict[int, float] = {}
        """Channel -> its newest requested action in [-1, 1]; the reader clears it."""

    # Inputs

    def twist(self, values: Array, frame: str) -> None:
        """Take a twist (6,) m/s and rad/s in a frame; a non-finite one brakes the arm."""
        self._take(values, 6, frame)

    def joint_velocities(self, values: Array) -> None:
        """Take joint velocities (d,) rad/s; non-finite ones brake the arm."""
        self._take(values, self._joints, None)

    def refuse(self, why: str) -> None:
        """Reject a command that cannot be read, for a given reason, and brake the arm."""
        self._wish, self._wished_at, self._refused = None, self._clock(), why

    def switch(self, source: str, held: bool) -> None:
        """Take the state of a dead man's switch."""
        now = self._clock()
        known = self._switches.get(source)
        if known is None:
            if len(self._switches) >= MOST_SOURCES:
                del self._switches[min(self._switches, key=lambda name: self._switches[name].at)]
            self._switches[source] = _Switch(held, not held, now, now)
            return
        if held and not known.held:
            known.since = now
        known.held, known.armed, known.at = held, known.armed or not held, now

    def forget(self) -> None:
        """Start again: each switch has to be seen released, each command sent again."""
        self._switches.clear()
        self.channels.clear()
        self._wish, self._refused, self._wished_at, self._ignored = None, '', -np.inf, 0

    # Results

    @property
    def acts(self) -> bool:
        """Return whether the person controls the arm now, even if it only brakes."""
        return any(each.held and each.armed for each in self._switches.values())

    def wish(self) -> Wish | None:
        """Return the command to obey now; None: the arm brakes."""
        if not self._held_now or self._wish is None:
            return None
        return self._wish if self._clock() - self._wish.at <= self._age else None

    def stop(self) -> Stop | None:
        """Return a stop if a held switch has not been heard of for too long, else None."""
        if not self.acts or self._held_now or not self._lost:
            return None
        silent = self._clock() - max(each.at for each in self._switches.values()
                                     if each.held and each.armed)
        return None if silent <= self._lost else Stop(
            'PERSON_LOST', silent, self._lost, "s without a word of a dead man's switch that was "
            'held: is the joystick, the keyboard or the page gone? Let the switch go, then reset')

    def complaint(self) -> str:
        """Return why a person's commands are not obeyed, or ''."""
        now = self._clock()
        ignored = self._ignored > FEW and now - self._wished_at <= self._age
        if self.acts and not self._held_now:
            return "a dead man's switch was held and is not heard of any more: the arm brakes"
        if self.acts:
            if self._refused and self._wish is None:
                return f'{self._refused}: the arm brakes'
            if self.wish() is not None:
                return ''
            held = now - min(each.since for each in self._switches.values() if each.held)
            silence = now - self._wished_at
            if min(held, silence) > STUCK:
                return (f"a dead man's switch is held for {held:.0f} s without a command: is it "
                        'stuck?')
            return f'no command for more than {self._age:g} s: the arm brakes'
        stuck = [name for name, each in self._switches.items() if each.held]
        if stuck:
            return (f"the dead man's switch of {stuck[0]!r} was held when it was first heard of: "
                    'let it go once')
        if ignored:
            return "commands come, and no dead man's switch is held: they are ignored"
        return ''

    @property
    def _held_now(self) -> bool:
        now = self._clock()
        return any(each.held and each.armed and now - each.at <= self._age
                   for each in self._switches.values())

    def _take(self, values: Array, size: int, frame: str | None) -> None:
        given = np.asarray(values, dtype=np.float64)
        self._ignored = 0 if self.acts else self._ignored + 1
        what = 'joint velocities' if frame is None else 'twist'
        if given.shape != (size,):
            self.refuse(f'{what} of {given.size} values, expected {size}')
        elif not np.isfinite(given).all():
            self.refuse(f'{what} with {given[~np.isfinite(given)][0]}')
        else:
            now = self._clock()
            self._wish, self._wished_at, self._refused = Wish(given, frame, now), now, ''
