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

"""Conversion of a person's commands to the task's actions, and choice of who acts in a tick."""

from dataclasses import dataclass

import numpy as np

from spaars_ros.control.actuation import Actuation
from spaars_ros.control.actuation import LEVER
from spaars_ros.control.person import Person
from spaars_ros.control.person import Wish
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.tasks.spec import AXES
from spaars_ros.tasks.spec import TaskSpec

BASE = ('', 'base')
"""The model's world, as in the robot file."""
ALIASES = {'base_link': 'base', 'tool': 'tip'}
"""Common frame names -> ours, where the model has no frame of that name itself."""
TIP = 'tip'
DRIVES = ('policy', 'person', 'guide')
"""Who acts where no dead man's switch is held: the policy, nobody, or a hand on the arm."""
DAMPING = 1e-4
"""Weight of joint velocities against a person's twist; bounds them near a singularity."""
MOST_FRAMES = 256
LONGEST_NAME = 200


@dataclass(frozen=True)
class Chosen:
    """Who acts, and the action of the tick."""

    action: Array
    """(a,) normalised."""
    mode: Mode
    ramped: bool
    """Whether the arm starts from the last command, within its acceleration limits."""


class Takeover:
    """
    Replace the policy's action by a person's, and back, without a jump of the command.

    The action has the task's own meaning, so that it can be learned: a twist becomes joint
    velocities where the task acts in those, and joint velocities become a twist where it acts in
    twists. A command beyond the largest action is reduced in its direction. From a person's first
    tick on, and back at the policy until its action is reached, the reference continues from the
    last command.

    :param robot: the robot file
    :param spec: action space and channels
    :param person: the person's commands
    :param actuation: scale of the task's actions
    :param kinematics: kinematics of the same robot
    :param drive: one of `DRIVES`
    """

    def __init__(self, robot: Robot, spec: TaskSpec, person: Person, actuation: Actuation,
                 kinematics: Kinematics, drive: str = 'policy') -> None:
        self.person, self.drive = person, drive
        self.joints = robot.joints
        self.channels = len(spec.channels)
        self._actuation, self._kinematics = actuation, kinematics
        self._arm, self.width = spec.action, spec.action.width
        self._home = np.asarray(robot.home)
        self._axes = np.asarray([AXES.index(axis) for axis in spec.action.axes])
        self._weights = np.ones(6)
        self._weights[3:] = LEVER
        self._damping = DAMPING * np.eye(len(robot.joints))
        self._frames: dict[str, bool] = {}
        self._channels = np.zeros(len(spec.channels))
        self._joining = False
        self._shown: Mode | None = None

    def knows(self, frame: str) -> bool:
        """Return whether a twist may be given in this frame: base, tip, or one of the model."""
        return frame in BASE or frame == TIP or self._models(frame) or frame in ALIASES

    def _models(self, frame: str) -> bool:
        """Return whether the model has a site or body of this name."""
        if len(frame) > LONGEST_NAME:
            return False
        if frame not in self._frames:
            if len(self._frames) >= MOST_FRAMES:
                self._frames.clear()
            try:
                self._kinematics.frame(frame, self._home)
                self._frames[frame] = True
            except (ConfigError, ValueError):
                self._frames[frame] = False
        return self._frames[frame]

    def begin(self) -> None:
        """Begin an episode: channels are where `Channels.reset` moves them."""
        self._channels[:] = -1.0
        self._joining, self._shown = False, None

    def choose(self, action: Array, mode: Mode, state: RobotState) -> Chosen:
        """Return who acts for a state, given the policy's action (a,) and mode."""
        person = self.person
        if person.acts:
            action, mode = self.action_of(person.wish(), state), Mode.HUMAN
        elif self.drive == 'person':
            action, mode = self._with_channels(np.zeros(self.width)), Mode.NONE
        person.channels.clear()
        changed = (mode in (Mode.HUMAN, Mode.NONE)) != (self._shown in (Mode.HUMAN, Mode.NONE))
        if self._shown is not None and changed:
            self._joining = True
        self._shown = mode
        return Chosen(action, mode, self._joining or mode in (Mode.HUMAN, Mode.NONE))

    def took(self, action: Array, share: float) -> None:
        """Note the executed action (a,) and its share of the change from the last command."""
        self._channels[:] = action[self.width:]
        if share >= 1.0:
            self._joining = False

    def action_of(self, wish: Wish | None, state: RobotState) -> Array:
        """Return a person's arm and channel commands as an action (a,); None: the arm rests."""
        for place, value in self.person.channels.items():
            if place < len(self._channels):
                self._channels[place] = float(np.clip(value, -1.0, 1.0))
        if wish is None:
            return self._with_channels(np.zeros(self.width))
        if self._arm.space == 'joint_velocity':
            velocity = wish.values if wish.frame is None else self._velocities(wish, state)
            arm = velocity / self._actuation.scale
        else:
            turn, jacobian = self._kinematics.turn_and_jacobian(state.position)
            twist = jacobian @ wish.values if wish.frame is None \
                else self._in_base(wish, state, turn)
            if self._arm.frame == 'tool':
                twist = _turned(turn.T, twist)
            arm = twist[self._axes] / self._actuation.scale
        return self._with_channels(arm / max(1.0, float(np.abs(arm).max())))

    def _velocities(self, wish: Wish, state: RobotState) -> Array:
        """Return joint velocities (d,) rad/s for a twist, with least other motion."""
        turn, jacobian = self._kinematics.turn_and_jacobian(state.position)
        weighted = self._weights[:, None] * jacobian
        twist = self._weights * self._in_base(wish, state, turn)
        solved: Array = np.linalg.solve(weighted.T @ weighted + self._damping, weighted.T @ twist)
        return solved

    def _in_base(self, wish: Wish, state: RobotState, turn: Array) -> Array:
        """Return a twist (6,) in the axes of the base; its reference point is always the tip."""
        frame = str(wish.frame)
        if self._models(frame) and frame not in BASE and frame != TIP:
            return _turned(self._kinematics.frame(frame, state.position)[1], wish.values)
        return _turned(turn, wish.values) if ALIASES.get(frame, frame) == TIP else wish.values

    def _with_channels(self, arm: Array) -> Array:
        return np.concatenate((arm, self._channels))


def _turned(turn: Array, twist: Array) -> Array:
    return np.concatenate((turn @ twist[:3], turn @ twist[3:]))
