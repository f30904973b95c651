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

"""
Convert JointState messages to robot states.

The joints may come in any order and in several messages, with or without velocity and effort.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from spaars_ros.data.derived_velocity import DerivedVelocity
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import MAX_VALUE
from spaars_ros.data.schema import RobotState
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import NANO

MOST_LAYOUTS = 64
"""Lists of joint names whose layout is cached."""
NEVER = -2**62
"""ns, stamp of a joint that was not received yet."""
REMEDY = {'velocity': '; where the robot measures none: `velocity: derived` in the robot file',
          'effort': '; where the robot measures none: `effort: none` in the robot file'}


@dataclass(frozen=True)
class Layout:
    """Mapping from the values of a message to the joints of a state."""

    size: int
    """Number of names in the message."""
    order: NDArray[np.intp]
    """Indices in the message of the robot's joints."""
    places: NDArray[np.intp] | None
    """Indices of these joints in a state; None: all joints, in order."""


class JointStateReader:
    """
    Convert JointState messages to RobotStates in the joint order of the robot file.

    Messages with only some of the joints are merged: a state is complete when all joints were
    received, and its stamp is that of the oldest message. A message without any of the joints is
    ignored.

    :param joints: joints of the robot file; other joints in a message are ignored
    :param effort: whether effort is required; otherwise a missing effort is read as 0
    :param derived: derives the velocities where the robot measures none; None: they are required
    """

    def __init__(self, joints: Sequence[str], *, effort: bool = True,
                 derived: DerivedVelocity | None = None) -> None:
        self.joints = list(joints)
        self.effort = effort
        self.derived = derived
        self._names: list[str] | None = None
        self._layout = Layout(0, np.zeros(0, np.intp), None)
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._parts = np.zeros((3, len(self.joints)))
        self._stamps = np.full(len(self.joints), NEVER, dtype=np.int64)
        self._given = NEVER

    @property
    def behind(self) -> list[str]:
        """Return the joints with the oldest stamp, or not yet received; [] if all are equal."""
        oldest = self._stamps == self._stamps.min()
        return [] if oldest.all() else [
            joint for joint, old in zip(self.joints, oldest) if old]

    @property
    def heard(self) -> list[str]:
        """Return the joint names of the newest message; [] before the first."""
        return self._names or []

    def read(self, msg: JointState) -> RobotState | None:
        """
        Return the state; None while some of its joints are missing.

        :raises CodecError: the message is malformed; the error names the joint or the field
        """
        if msg.name != self._names:
            self._layout = self._of(tuple(msg.name))
            self._names = list(msg.name)
        stamp = msg.header.stamp.sec * NANO + msg.header.stamp.nanosec
        places = self._layout.places
        if places is not None and not len(places):
            return None
        position = self._take('position', msg.position)
        velocity = position if self.derived is not None else self._take('velocity', msg.velocity)
        effort = self._take('effort', msg.effort, self.effort)
        if places is not None:
            self._parts[:, places] = position, velocity, effort
            again = stamp == self._stamps[places[0]]
            self._stamps[places] = stamp
            stamp = int(self._stamps.min())
            # A repeated message is answered again: the first answer may have been lost.
            if stamp == NEVER or stamp == self._given and not again:
                return None
            self._given = stamp
            position, velocity, effort = self._parts.copy()
        if self.derived is not None:
            velocity = self.derived.at(stamp, position)
        return RobotState(stamp, position, velocity, effort)

    def forget(self) -> None:
        """Discard the history of the derived velocity, for instance after a reset of the arm."""
        if self.derived is not None:
            self.derived.forget()

    def _of(self, names: tuple[str, ...]) -> Layout:
        known = self._layouts.get(names)
        if known is not None:
            return known
        ours = [joint for joint in self.joints if joint in names]
        for joint in ours:
            if names.count(joint) > 1:
                raise CodecError('DUPLICATE_JOINT',
                                 f'{joint!r} is {names.count(joint)} times in joint_states')
        order = np.array([names.index(joint) for joint in ours], dtype=np.intp)
        places = None if len(ours) == len(self.joints) else np.array(
            [self.joints.index(joint) for joint in ours], dtype=np.intp)
        if len(self._layouts) >= MOST_LAYOUTS:
            self._layouts.clear()
        made = self._layouts[names] = Layout(len(names), order, places)
        return made

    def _take(self, field: str, values: Sequence[float], needed: bool = True) -> Array:
        layout = self._layout
        if not needed and len(values) == 0:
            return np.zeros(len(layout.order))
        if len(values) != layout.size:
            raise CodecError('WRONG_LENGTH', f'{field} has {len(values)} values for '
                                             f'{layout.size} joints{REMEDY.get(field, "")}')
        taken = np.array(values, dtype=np.float64)[layout.order]
        if (np.abs(taken) <= MAX_VALUE).all():  # finite, too; the fast path of a tick
            return taken
        finite = np.isfinite(taken)
        if not finite.all():
            if needed:
                joint = (self._names or [])[layout.order[int(np.argmin(finite))]]
                raise CodecError('NON_FINITE_STATE', f'{field} of {joint} is '
                                 f'{taken[~finite][0]}{REMEDY.get(field, "")}')
            taken[~finite] = 0.0
        if np.abs(taken).max() > MAX_VALUE:
            worst = int(np.abs(taken).argmax())
            raise CodecError('IMPLAUSIBLE_STATE', f'{field} of '
                             f'{(self._names or [])[layout.order[worst]]} is {taken[worst]:g}')
        return taken
