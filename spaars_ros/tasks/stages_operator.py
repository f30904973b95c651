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

"""Scripted demonstrator of `stages`: two sub-tasks per episode, with a shaky hand."""

import mujoco
import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.tasks.stages import STAGES

Array = NDArray[np.float64]

PAIRS = (('slider', 'lever'), ('lever', 'button'), ('button', 'knob'))
"""Sub-tasks per episode: pairs of a chain of four, so that no episode shows more than two."""

ABOVE = 0.33
"""m; height at which the tip travels, 7 cm above the handles."""
SPEED = (0.25, 0.35)
"""m/s, range of the tip's speed between fixtures; drawn per episode."""
PUSH_SPEED = 0.16
"""m/s, speed of the tip when it pushes or presses."""
NEAR = (0.025, 0.012)
"""m; distance at which a waypoint counts as passed: in the air, and beside a fixture."""
NOISE = 0.10
"""
Standard deviation of the hand's shake, in normalised action; first-order noise, factor 0.7 per
tick.
"""
PLACE = 0.006
"""m; standard deviation of each waypoint, drawn per sub-task."""
KNOB = (0.6, -0.22, 0.225)
"""m, base frame; the knob's axis, at the height of its peg."""
PEG = 0.06
"""
m; radius at which the tip pushes the peg, slightly outside of it, since the tip slips inwards.
"""
AHEAD = 0.5
"""rad; angle beyond the peg to which the tip is commanded, so that it pushes."""
PATIENCE = 45
"""Ticks beside one fixture after which the demonstrator lifts the tip and tries again."""
RESTS = 4
"""Ticks after the last sub-task, on the way up, after which the recording ends."""

WAYS: dict[str, tuple[tuple[float, float, float], ...]] = {
    'slider': ((0.6, 0.05, 0.225), (0.6, 0.24, 0.225)),
    'lever': ((0.365, 0.25, 0.225), (0.50, 0.25, 0.222)),
    'button': ((0.45, -0.12, 0.275), (0.45, -0.12, 0.20)),
    'knob': ((0.56, -0.16, 0.222), (0.6, -0.16, 0.222)),
}
"""m, base frame: where the tip descends beside each fixture, and where it pushes it to."""


class StagedOperator:
    """Operator that does given sub-tasks in one episode, in their order."""

    def __init__(self, robot: Robot, rng: np.random.Generator) -> None:
        self.rng = rng
        self.kinematics = Kinematics(robot)
        self._scale = robot.control.action_scale * np.asarray(robot.limits.velocity)
        self._home = np.asarray(robot.home)
        self._body, _ = self.kinematics.tip_in_body()
        self._turning = np.zeros((3, self.kinematics.model.nv))
        self._shake = np.zeros(len(self._home))

    def begin(self, stages: tuple[str, ...]) -> None:
        """Begin an episode with the names of its sub-tasks."""
        self._todo = list(stages)
        self._speed = self.rng.uniform(*SPEED)
        self._shake[:] = 0.0
        self._rested = 0
        self._plan()

    def _plan(self) -> None:
        """Plan the waypoints of the next sub-task: above it, down beside it, through it."""
        ways = np.asarray(WAYS[self._todo[0]])
        ways = ways + self.rng.normal(scale=PLACE, size=3) * [1.0, 1.0, 0.5]
        self._waypoints = [ways[0] * [1.0, 1.0, 0.0] + [0.0, 0.0, ABOVE], *ways]
        self._pushing = 0

    def _lift(self, tip: Array) -> None:
        """Move up first: otherwise the tip would drag a handle that is in the way."""
        self._waypoints.insert(0, np.array([tip[0], tip[1], ABOVE - 0.01]))

    def act(self, observation: Array) -> Array:
        """Return the action (d,) in [-1, 1] for an observation of `StagesTask`."""
        d = len(self._home)
        position, done = observation[:d], observation[-len(STAGES):]
        tip, jacobian = self.kinematics.tip_and_jacobian(position)
        if self._todo and done[STAGES.index(self._todo[0])]:
            self._todo.pop(0)
            if self._todo:
                self._plan()
            else:
                self._waypoints.clear()
            self._lift(tip)
        elif self._pushing > PATIENCE:
            self._plan()
            self._lift(tip)
        while len(self._waypoints) > 1 and np.linalg.norm(self._waypoints[0] - tip) < \
                NEAR[len(self._waypoints) == 2]:
            self._waypoints.pop(0)
        self._rested += not self._todo
        last = bool(self._todo) and len(self._waypoints) == 1
        self._pushing += last
        if last and self._todo[0] == 'knob':
            angle = observation[-len(STAGES) - 1] + AHEAD
            self._waypoints[0] = KNOB + PEG * np.array([np.sin(angle), np.cos(angle), 0.0])
        error = self._waypoints[0] - tip
        gone = float(np.linalg.norm(error))
        speed = min(PUSH_SPEED if last else self._speed, 6.0 * gone + 0.02)
        velocity = error / max(gone, 1e-9) * speed
        if last:  # a tip that rises slips over the handle
            velocity[2] = np.clip(5.0 * error[2], -PUSH_SPEED, PUSH_SPEED)
        joints = self._joints(position, velocity, jacobian)
        self._shake = 0.7 * self._shake + np.sqrt(1 - 0.7 ** 2) * NOISE * self.rng.normal(size=d)
        return np.clip(joints / self._scale + self._shake, -1.0, 1.0)

    def _joints(self, position: Array, velocity: Array, jacobian: Array) -> Array:
        """Return joint velocities (d,) rad/s for a tip velocity (3,) m/s with the tool upright."""
        model, data = self.kinematics.model, self.kinematics.data
        axis = data.xmat[self._body].reshape(3, 3)[:, 2]
        mujoco.mj_jac(model, data, None, self._turning, data.xpos[self._body], self._body)
        turning = self._turning[:2, self.kinematics.dof]  # rotation about z is free
        upright = 3.0 * np.cross(axis, [0.0, 0.0, -1.0])[:2]
        task = np.concatenate((jacobian, 0.3 * turning))
        wanted = np.concatenate((velocity, 0.3 * upright))
        damped = task.T @ np.linalg.inv(task @ task.T + 1e-3 * np.eye(5))
        null = np.eye(len(position)) - damped @ task
        return np.asarray(damped @ wanted + null @ (0.5 * (self._home - position)))

    @property
    def done(self) -> bool:
        """Return whether the demonstration is complete."""
        return self._rested > RESTS


class PairsOperator:
    """Operator that does the pairs of `PAIRS` in turn, one pair per episode."""

    def __init__(self, robot: Robot, rng: np.random.Generator) -> None:
        self._operator = StagedOperator(robot, rng)
        self._begun = 0

    def begin(self, observation: Array) -> None:
        """Begin an episode with the next pair."""
        self._operator.begin(PAIRS[self._begun % len(PAIRS)])
        self._begun += 1

    def act(self, observation: Array) -> Array:
        """Return the action (d,) in [-1, 1]."""
        return self._operator.act(observation)

    @property
    def done(self) -> bool:
        """Return whether both sub-tasks are done."""
        return self._operator.done

    @property
    def failure(self) -> str:
        """Return '': an episode is intended to do two of the four sub-tasks only."""
        return ''
