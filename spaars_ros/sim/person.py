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

"""Simulated person who takes over where a policy fails, with a delay and a noisy hand."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from spaars_ros.robot.config import ConfigError
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.protocols import Corrector
from spaars_ros.tasks.protocols import Demonstrator
from spaars_ros.tasks.protocols import Potential
from spaars_ros.tasks.spec import AXES

PATIENCE = 1.0
"""s without progress after which a person sees that the policy fails."""
REACTION = 0.4
"""s from seeing it to holding the switch."""
DELAY = 0.15
"""s between what a person sees and the motion of the hand."""
SHAKE = 0.1
"""Standard deviation of the hand's noise, in normalised action; first-order, 0.8 per tick."""
MEMORY = 0.8
PROGRESS = 0.02
"""Smallest increase of the task's potential that counts as progress."""
GOOD = 0.1
"""Increase of the potential during a takeover after which the arm is given back."""
SHORTEST = 1.0
"""s, shortest takeover."""


class SimulatedPerson:
    """
    Watch a policy and correct it, based on the task's potential.

    A person lets the policy act while the potential grows. After `PATIENCE` without growth they
    take over, with a reaction time. They act like the task's corrector (or its demonstrator), on a
    slightly delayed observation and with a noisy hand. They give the arm back once the potential
    has grown again.

    :param task: a task with a potential, and a corrector or a demonstrator
    :param rng: of the hand, and of the task's operator
    :raises ConfigError: the task has no potential, or neither corrector nor demonstrator
    """

    def __init__(self, task: Task, rng: np.random.Generator) -> None:
        if not isinstance(task, Potential):
            raise ConfigError(f'task {task.name!r} has no potential(): a simulated person cannot '
                              'see that its policy fails')
        if isinstance(task, Corrector):
            self._operator = task.corrector(rng)
        elif isinstance(task, Demonstrator):
            self._operator = task.demonstrator(rng)
        else:
            raise ConfigError(f'task {task.name!r} has neither corrector(rng) nor '
                              'demonstrator(rng): there is nobody to simulate')
        self._potential, self._rng = task.potential, rng
        period = task.robot.period
        self._patience, self._reaction, self._shortest = (
            max(round(each / period), 1) for each in (PATIENCE, REACTION, SHORTEST))
        self._seen: deque[Array] = deque(maxlen=max(round(DELAY / period), 0) + 1)
        self._begun = False
        self.takeovers = 0

    def begin(self) -> None:
        """Watch an episode from its beginning."""
        self._seen.clear()
        self._best, self._still, self._waits = -np.inf, 0, 0
        self._acted, self._from = 0, 0.0
        self._shake: Array = np.zeros(0)
        self._begun = True

    @property
    def acts(self) -> bool:
        """Return whether the switch is held."""
        return self._acted > 0

    def see(self, observation: Array) -> Array | None:
        """Return the requested action (a,) for an observation (n,); None: switch released."""
        if not self._begun:
            self.begin()
        self._seen.append(observation)
        level = float(self._potential(observation))
        if level > self._best + PROGRESS:
            self._best, self._still = level, 0
        else:
            self._still += 1
        if not self.acts:
            self._decide(level)
            return None
        self._acted += 1
        if self._acted > self._shortest and level > self._from + GOOD:
            self._acted, self._still = 0, 0
            return None
        action = np.asarray(self._operator.act(self._seen[0]), dtype=np.float64)
        if not self._shake.size:
            self._shake = np.zeros(len(action))
        self._shake = MEMORY * self._shake + np.sqrt(1.0 - MEMORY ** 2) * SHAKE \
            * self._rng.normal(size=len(action))
        return np.clip(action + self._shake, -1.0, 1.0)

    def _decide(self, level: float) -> None:
        """Take over, a reaction time after the lack of progress was seen."""
        if self._still < self._patience and not self._waits:
            return
        self._waits += 1
        if self._waits > self._reaction:
            self._waits, self._acted, self._from = 0, 1, level
            self.takeovers += 1
            self._operator.begin(self._seen[0])


@dataclass(frozen=True)
class Asked:
    """An action as a person's command: a twist in a frame, or joint velocities."""

    values: Array
    """(6,) m/s and rad/s, or (d,) rad/s."""
    frame: str | None
    """Frame of a twist; None: joint velocities."""


def as_command(task: Task, action: Array) -> Asked:
    """Return the arm's part of an action (a,) as a person's command."""
    arm = task.spec.action
    if arm.space == 'joint_velocity':
        scale = task.robot.control.action_scale * np.asarray(task.robot.limits.velocity)
        return Asked(action[:arm.width] * scale, None)
    twist = np.zeros(6)
    for axis, value in zip(arm.axes, action):
        place = AXES.index(axis)
        twist[place] = value * (arm.linear if place < 3 else arm.angular)
    return Asked(twist, 'tip' if arm.frame == 'tool' else 'base')
