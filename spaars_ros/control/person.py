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

"""What a person asks of the arm while a dead man's switch is held. Free of ROS."""

from collections.abc import Callable
from dataclasses import dataclass
import time

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.safety.stop import Stop

MOST_SOURCES = 16
"""Switches that are known at a time; one more takes the place of the one heard least lately."""
FEW = 3
"""Commands that may come before the switch that goes with them, or after it."""
STUCK = 60.0
"""s that a switch may be held without a command before it is taken for stuck."""


@dataclass(frozen=True)
class Wish:
    """A person's newest command."""

    values: Array
    """A twist (6,), m/s and rad/s, or joint velocities (d,) rad/s."""
    frame: str | None
    """That a twist is given in; None: joint velocities."""
    at: float
    """s on the person's clock when it arrived."""


@dataclass
class _Switch:
    """A dead man's switch: one of a joystick, a keyboard, a page."""

    held: bool
    armed: bool
    """Whether it was seen released: one that was held from the first is perhaps stuck."""
    at: float
    since: float


class Person:
    """
    A person's commands, and whether they count.

    A person acts from the moment a dead man's switch is held until it is let go. Held means: heard
    of within `age`, and seen released before. While a person acts and no command is newer than
    `age`, or the newest was no number, the arm brakes and stays theirs. One whose switch is not
    heard of any more while it was held has the arm braking, too; after `lost` s it is a stop.

    :param joints: d
    :param age: s that a command or a held switch stays good without another
    :param lost: s of silence of a held switch that are a stop; 0 for never
    :param clock: s, steady: a person lives on it whatever time the robot has
    """

    def __init__(self, joints: int, *, age: float = 0.5, lost: float = 5.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._joints, self._age, self._lost, self._clock = joints, age, lost, clock
        self._switches: dict[str, _Switch] = {}
        self._wish: Wish | None = None
        self._wished_at = -np.inf
        """When a command came last, whatever was in it."""
        self._refused = ''
        self._ignored = 0
        """Commands running that came while no switch was held."""
        self.channels: dict[int, float] = {}
        """Channel -> the action in [-1, 1] asked of it last; the reader empties it."""

    # What arrives

    def twist(self, values: Array, frame: str) -> None:
        """Take a twist (6,) m/s and rad/s in a frame; one that is not finite brakes the arm."""
        self._take(values, 6, frame)

    def joint_velocities(self, values: Array) -> None:
        """Take joint velocities (d,) rad/s; ones that are not finite brake the arm."""
        self._take(values, self._joints, None)

    def refuse(self, why: str) -> None:
        """Let a command that cannot be read brake the arm, and name it."""
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
        """Begin anew: every switch has to be seen released, every command to come again."""
        self._switches.clear()
        self.channels.clear()
        self._wish, self._refused, self._wished_at, self._ignored = None, '', -np.inf, 0

    # What follows

    @property
    def acts(self) -> bool:
        """Return whether the arm is a person's now, if only to brake."""
        return any(each.held and each.armed for each in self._switches.values())

    def wish(self) -> Wish | None:
        """Return the command to obey now; None: the arm brakes."""
        if not self._held_now or self._wish is None:
            return None
        return self._wish if self._clock() - self._wish.at <= self._age else None

    def stop(self) -> Stop | None:
        """Return a stop where a held switch has not been heard of for too long."""
        if not self.acts or self._held_now or not self._lost:
            return None
        silent = self._clock() - max(each.at for each in self._switches.values()
                                     if each.held and each.armed)
        return None if silent <= self._lost else Stop(
            'PERSON_LOST', silent, self._lost, "s without a word of a dead man's switch that was "
            'held: is the joystick, the keyboard or the page gone? Let the switch go, then reset')

    def complaint(self) -> str:
        """Return what keeps a person's commands from counting, or ''."""
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
