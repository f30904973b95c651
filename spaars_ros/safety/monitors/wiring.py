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

"""Detection of which joint obeys which command, from commands and measured positions alone."""

from collections import deque
from dataclasses import dataclass
import math

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.safety.stop import Stop

SPAN = 1.0
"""s of motion that are compared with commands."""
SAMPLES = 20
"""States per span; states that are closer together are left out."""
LEAST = 8
"""Minimum number of states."""
LATENESS = 0.3
"""s from a command until the arm moves at most, or 12 periods, or 4 more than `control.delay`."""
LATEST = 12
TRIED = 25
"""Number of delays that are tried."""
MOVING = 0.005
"""Share of the velocity limit, root mean square; less motion is not judged."""
AMISS = 0.7
"""Residual, as a share of the motion, above which a joint does not follow its own command."""
EXPLAINED = 0.3
"""Residual below which a joint follows another command."""
ALIKE = 0.97
"""Correlation above which a joint follows its command, but by another factor."""
ALIKE_SHAPE = 0.9
"""The same without the means of both."""
FASTER = 1.6
"""Factor above which the arm is stopped; a servo overshoots by less."""
SLOWER = 0.6
"""Factor below which the arm is stopped, where it is the same for all joints that move."""
SAME = 0.2
"""Largest spread of such factors, as a share of the least."""
SEVERAL = 3
"""Minimum number of joints that have such a factor."""
SHAPE = 0.6
"""Weight of the residual of motion and commands without their means."""
UNMOVED = 0.1
"""Share of the commanded motion below which the arm does not move."""
HELD = 0.03
"""The same for one joint while others move; friction and a slow servo reduce motion, too."""
PLAIN = 8.0
"""Multiple of `MOVING` that the joint has to be commanded to move for that."""
CONFIRMED = 3
"""Consecutive judgements that have to agree."""
SURE = 6
"""The same for a joint that moves less than commanded, and for an arm that does not move."""
FOLLOWS = 0.45
"""Residual below which a joint follows its own command, and so is wired correctly."""
HELD_UP = 200
"""Consecutive judgements after which a contact no longer explains a joint that is held."""
PUSHED = 20
"""The same for a joint that moves further than commanded; a contact pushes it only briefly."""


Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Found:
    """A suspected fault and the number of judgements that confirm it."""

    stop: Stop
    needed: int
    """Consecutive judgements that have to agree."""
    touched: Mask | None = None
    """(d,) joints whose motion a contact can explain; None: no contact can explain it."""
    excused: int = 0
    """Consecutive judgements that have to agree for these joints, in a task with contact."""


class WiringWatch:
    """
    Match the joints' motions with the commands of all joints, at several delays.

    D_i(k) is how far joint i moved between two states. E_j(k, m) is how far the commands of joint
    j would move it, if they act m s late. Joint i is connected correctly where some m leaves a
    small residual |D_i - E_i(m)|. Where none does, and joint j does not obey its own commands
    either, the command j with a small residual |D_i - E_j(m)| is the one that moves joint i. -E_i
    means a wrong sign, and a multiple of E_i a wrong factor. Reconstructed here.

    Meant to be judged ten times per second: a judgement takes up to half a millisecond.

    In a task with contact, a joint that is held is not a fault by itself. Once a joint has
    followed its own command for `SURE` judgements, a fault needs `HELD_UP` judgements if the joint
    moves less than commanded, and `PUSHED` if it moves further. A joint that never followed may
    have no drive, or another scale. No contact makes a joint obey another joint's command, or move
    backwards.

    :param robot: the robot file
    :param contact: whether the task makes contact on purpose
    """

    def __init__(self, robot: Robot, contact: bool = False) -> None:
        self._contact = contact
        self._followed = np.zeros(len(robot.joints), dtype=int)
        """(d,) judgements in which a joint followed its own command."""
        self._joints = robot.joints
        self._limits = np.asarray(robot.limits.velocity)
        late = max(LATENESS, robot.period * max(LATEST, robot.control.delay + 4))
        self._late = np.linspace(0.0, late, TRIED)
        self._apart = SPAN / SAMPLES
        self._memory = SPAN + late + 2.0 * self._apart
        self.forget()

    def forget(self) -> None:
        """Discard all states and commands: the arm was moved by something else."""
        self._states: deque[tuple[float, Array]] = deque(maxlen=SAMPLES + 1)
        self._commands: deque[tuple[float, Array, Array]] = deque()
        self._said = ''
        self._times = 0

    def commanded(self, time: float, command: Array | None) -> None:
        """Note that a command (d,) rad/s takes effect at `time` s; None: something else moves."""
        if command is None:
            if self._commands:
                self.forget()
            return
        gone = np.zeros_like(command)
        if self._commands:
            before, standing, gone = self._commands[-1]
            if time < before:  # the clock was set back
                self.forget()
            else:
                gone = gone + (time - before) * standing
        self._commands.append((time, command, gone))
        while time - self._commands[0][0] > self._memory:
            self._commands.popleft()

    def measured(self, time: float, position: Array) -> None:
        """Note the position (d,) rad at `time` s, on the same clock."""
        # A state that is slightly early is accepted: stamps jitter.
        if not self._states or time - self._states[-1][0] > 0.9 * self._apart:
            self._states.append((time, position))
        elif time < self._states[-1][0]:
            self.forget()

    def judge(self) -> Stop | None:
        """Return a stop that names the wrong connection, once it is confirmed."""
        found = self._judged()
        stop, needed = (None, 0) if found is None else (found.stop, found.needed)
        if found is not None and self._contact and found.touched is not None \
                and (self._followed[found.touched] >= SURE).all():
            needed = found.excused
        said = '' if stop is None else stop.code + stop.text * (stop.code == 'WRONG_WIRING')
        self._times = self._times + 1 if said == self._said else 1
        self._said = said
        return stop if self._times >= needed else None

    def _judged(self) -> Found | None:
        if len(self._states) < LEAST or not self._commands:
            return None
        moved, asked = self._motions()
        if moved is None or asked is None or not np.isfinite(moved).all():
            return None
        floor = MOVING * self._limits * self._apart * math.sqrt(len(moved))
        size = np.sqrt((moved ** 2).sum(axis=0))
        sizes = np.sqrt((asked ** 2).sum(axis=1))  # (lateness, d)
        # Only joints with a command at every delay: a late arm has not started yet.
        wanted = sizes.min(axis=0) > floor
        if not wanted.any():
            return None
        if not (size > np.maximum(floor, UNMOVED * sizes.min(axis=0))).any():
            joint = int(np.argmax(np.where(wanted, sizes.min(axis=0) / floor, 0.0)))
            return Found(Stop(
                'NO_MOTION', float(size[joint] / sizes[0, joint]), UNMOVED,
                f'of the motion that {self._joints[joint]} was commanded, and no joint moves: '
                'nobody obeys `command`; see whether the controller is active and the robot in no '
                'protective stop'), SURE, wanted, HELD_UP)
        held = (sizes.min(axis=0) > PLAIN * floor) & (size < HELD * sizes.min(axis=0))
        if held.any():
            joint = int(np.argmax(np.where(held, sizes.min(axis=0) / floor, 0.0)))
            return Found(Stop(
                'NO_MOTION', float(size[joint] / sizes[0, joint]), HELD,
                f'of the motion that {self._joints[joint]} was commanded: it does not obey, '
                'others do; see its drive, its brake and its wire'), SURE, held, HELD_UP)
        moves = size > floor
        rest, against, _ = _rests(moved, asked)
        # A hand that pushes steadily adds a constant, and leaves the shape unchanged.
        shape, shape_against, shapes = _rests(moved - moved.mean(axis=0),
                                              asked - asked.mean(axis=1, keepdims=True))
        own = np.diagonal(rest)
        amiss = (own > AMISS) & (np.diagonal(shape) > AMISS) & (moves | wanted) & shapes
        # Both residuals have to be large: constant speeds can be alike by chance.
        rest, against = np.maximum(rest, SHAPE * shape), np.maximum(against, SHAPE * shape_against)
        found = []
        for i in np.flatnonzero(amiss & moves):
            if wanted[i] and against[i, i] < EXPLAINED:
                found.append((f'command of {self._joints[i]} moves it backwards', float(own[i])))
                continue
            others = np.where(amiss & wanted, np.minimum(rest[i], against[i]), np.inf)
            others[i] = np.inf
            j = int(others.argmin())
            if others[j] < EXPLAINED:
                way = 'moves' if rest[i, j] <= against[i, j] else 'moves backwards'
                found.append((f'command of {self._joints[j]} {way} {self._joints[i]}',
                              float(own[i])))
        if found:
            return Found(Stop(
                'WRONG_WIRING', max(value for _, value in found), AMISS,
                ', '.join(text for text, _ in found) + ": the controller's joints have to be the "
                "robot file's, in its order and with its signs"), CONFIRMED)
        factor = self._factors(moved, asked, wanted & moves)
        if factor is None and not amiss.any():
            self._followed += wanted & moves & (own < FOLLOWS)
        return factor

    def _factors(self, moved: Array, asked: Array, judged: Mask) -> Found | None:
        """
        Find joints that move as commanded, but by a multiple.

        :param moved: (n, d) rad
        :param asked: (delays, n, d) rad
        :param judged: (d,) joints to judge
        """
        places = np.flatnonzero(judged)
        if not len(places):
            return None
        moved, asked = moved[:, places], asked[..., places]
        factors, alike = _factors(moved, asked)
        # Also without the means, since a load that sinks adds to them.
        shaped, alike_shape = _factors(moved - moved.mean(axis=0),
                                       asked - asked.mean(axis=1, keepdims=True))
        sure = (alike > ALIKE) & (alike_shape > ALIKE_SHAPE)
        least = np.where(sure, np.minimum(factors, shaped), 0.0)
        most = int(least.argmax())
        joint, value, threshold = self._joints[places[most]], float(least[most]), FASTER
        touched = np.arange(len(self._joints)) == places[most]
        needed, excused = CONFIRMED, PUSHED
        if value <= FASTER:
            # Friction and loads reduce motion, too, but not by the same factor in all joints.
            if len(places) < SEVERAL or alike.min() < ALIKE or factors.max() > SLOWER \
                    or np.ptp(factors) > SAME * factors.min():
                return None
            joint, value, threshold = 'every joint', float(factors.mean()), SLOWER
            touched, needed, excused = judged, SURE, HELD_UP
        return Found(Stop(
            'WRONG_SCALE', value, threshold, f'times as far as commanded goes {joint}: look at '
            "the controller's units (rad, not degrees), gears and speed scaling"),
            needed, touched, excused)

    def _motions(self) -> tuple[Array | None, Array | None]:
        """Return measured motions (n, d) rad, and commanded motions (delays, n, d) rad."""
        times = np.array([time for time, _ in self._states])
        positions = np.array([position for _, position in self._states])
        recent = times >= times[-1] - SPAN - 0.5 * self._apart
        if recent.sum() < LEAST:
            return None, None
        times, positions = times[recent], positions[recent]
        begun = np.array([time for time, _, _ in self._commands])
        speeds = np.array([command for _, command, _ in self._commands])
        gone = np.array([gone for _, _, gone in self._commands])
        at = times[None, :] - self._late[:, None]
        place = np.searchsorted(begun, at, side='right') - 1
        since = np.where(place >= 0, at - begun[np.maximum(place, 0)], 0.0)
        place = np.maximum(place, 0)  # before the first command the arm was at rest
        where = gone[place] + since[..., None] * speeds[place]
        return np.diff(positions, axis=0), np.diff(where, axis=1)


def _rests(moved: Array, asked: Array) -> tuple[Array, Array, Mask]:
    """
    Return the residuals (d, d) of motion i by command j and by its opposite, and a mask (d,).

    Residuals are shares of the larger of both, at the best delay. The mask is False where motion
    and, at some delay, command are constant, so that they have no shape to compare.

    :param moved: (n, d) rad
    :param asked: (delays, n, d) rad
    """
    size, sizes = np.sqrt((moved ** 2).sum(axis=0)), np.sqrt((asked ** 2).sum(axis=1))
    product = np.matmul(moved.T, asked)
    squared = size[None, :, None] ** 2 + sizes[:, None, :] ** 2
    larger = np.maximum(size[None, :, None], sizes[:, None, :]) + 1e-12
    return (np.sqrt(np.maximum(squared - 2.0 * product, 0.0) / larger ** 2).min(axis=0),
            np.sqrt(np.maximum(squared + 2.0 * product, 0.0) / larger ** 2).min(axis=0),
            (size > 0.0) | (sizes > 0.0).all(axis=0))


def _factors(moved: Array, asked: Array) -> tuple[Array, Array]:
    """Return the factor (d,) by which each joint follows its command, and the correlation (d,)."""
    sizes = (asked ** 2).sum(axis=1) + 1e-18
    along = (moved * asked).sum(axis=1)  # (lateness, d)
    alike = along / np.sqrt(sizes * (moved ** 2).sum(axis=0) + 1e-18)
    best = alike.argmax(axis=0), np.arange(moved.shape[1])
    return np.asarray(along[best] / sizes[best]), np.asarray(alike[best])
