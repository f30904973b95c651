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
Interface of tasks: observation, reward, costs and outcome; independent of ROS and torch.

The rest of the package knows a task only through this module. A task is one class and one YAML
file. `registry` finds tasks, and `testing.check_task` checks that a task conforms to this
interface.
"""

from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
import json
from types import MappingProxyType
from typing import Any
from typing import ClassVar
from typing import Optional

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic import model_validator

from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Outcome as Outcome  # noqa: PLC0414 - part of this interface
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Constraint
from spaars_ros.robot.config import Robot
from spaars_ros.robot.files import Strict
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.sources import Source
from spaars_ros.tasks.spec import differing
from spaars_ros.tasks.spec import MetricSpec
from spaars_ros.tasks.spec import TaskSpec

Array = NDArray[np.float64]

MEASURED = ('torque', 'intervention', 'takeover')
"""Cost terms that the records of every task contain: effort at its limit, filter, takeover."""


class GivenSuccess(Strict):
    """A source that reports success, with hysteresis, so that a short flicker is not a success."""

    source: str = Field(
        min_length=1, max_length=200, description='source whose first value is compared')
    above: float = Field(
        0.5, ge=-1e6, le=1e6, description='the task is done at or above this value')
    below: float = Field(
        0.5, ge=-1e6, le=1e6, description='the task is not done below this value; between the two '
        'nothing changes')
    hold: int = Field(
        3, ge=1, le=10_000, description='consecutive control ticks for which the task has to be '
        'done before the episode ends')

    @model_validator(mode='after')
    def _in_order(self) -> 'GivenSuccess':
        if self.below > self.above:
            raise ValueError(f'below: {self.below} is above {self.above}')
        return self


class TaskSettings(Strict):
    """Settings that every task file has; a task's own `Settings` adds to them."""

    task: str = Field('reach', max_length=200, description='entry point of the group '
                      'spaars_ros.tasks, or module:Class')
    name: str = Field(
        '', max_length=200, description="name of the task in bundles and data; '': that of the "
        'task class')
    robot: str = Field(
        '', max_length=200, description="robot file if no other is given; '': panda")
    training: str = Field(
        '', max_length=200, description='training file if neither a file nor an algorithm is '
        "given; '': spaars")
    demonstrations: str = Field(
        '', max_length=400, description='HDF5 data set, or package://<python package>/<path>, if '
        "no other is given; '': that of reach")
    start_noise: float = Field(
        0.05, ge=0, le=10, description='rad, half-width of the uniform noise about the home '
        'position')
    horizon: int = Field(100, ge=2, le=1_000_000, description='control ticks per episode')
    sources: list[Source] = Field(
        [], max_length=64, description='topics in addition to joint_states; each replaces a '
        'source of the robot file with the same name')
    success: Optional[GivenSuccess] = Field(
        None, description='source that reports when an episode has succeeded; none: the task '
        'computes it')
    reward: str = Field(
        '', max_length=200, description="source whose first value is the reward of a tick; '': "
        'the task computes it')


@dataclass(frozen=True)
class Sample:
    """Newest sample of a source."""

    values: Array
    """Values, as the task's source declares them."""
    age: float
    """s since the measurement."""


NOTHING: Mapping[str, Sample] = MappingProxyType({})


@dataclass(frozen=True)
class World:
    """Measurement of one tick; frames are computed from the robot's model on request."""

    joints: RobotState
    kinematics: Kinematics
    sources: Mapping[str, Sample] = field(default_factory=lambda: NOTHING)
    """Source -> its newest sample."""

    def tip(self) -> Array:
        """Return the tool tip (3,) m, base frame."""
        return self.kinematics.tip(self.joints.position)

    def tip_and_jacobian(self) -> tuple[Array, Array]:
        """Return the tool tip (3,) m and its Jacobian (3, d) m/rad, base frame."""
        return self.kinematics.tip_and_jacobian(self.joints.position)

    def frame(self, name: str) -> tuple[Array, Array]:
        """Return position (3,) m and rotation (3, 3) of a site or body; raises ConfigError."""
        return self.kinematics.frame(name, self.joints.position)


@dataclass(frozen=True)
class Episode:
    """Records of a finished episode, or of the available part of one."""

    observations: Array
    """(T + 1, n), physical units."""
    actions: Array
    """(T, a), in [-1, 1], as the safety filter passed them."""
    ended: Flag = Flag.TRUNCATED
    """Reason of the end."""
    outcome: Outcome = Outcome.UNLABELLED
    """Outcome in the records; a task may know more, see `Task.judge`."""


@dataclass(frozen=True)
class Metric:
    """One number that measures an episode."""

    value: float
    unit: str
    better: str = 'lower'
    """'lower' or 'higher'."""


class Task(ABC):
    """
    Abstract base class of tasks.

    A task is made from a robot file and the settings of its task file. It calls `__init__` of this
    class first and then sets `spec`. Observations are in physical units and contain everything
    that reward and costs need, so that a recorded run can be scored again.
    """

    Settings: ClassVar[type[TaskSettings]] = TaskSettings
    """Class of the settings in the task file."""
    spec: TaskSpec

    def __init__(self, robot: Robot, settings: TaskSettings) -> None:
        self.robot = robot
        self.settings = settings

    @abstractmethod
    def observe(self, world: World, goal: Array | None) -> Array:
        """
        Return the observation (n,), physical units.

        :param goal: from `Goals.sample_goal`, None for a task without goals
        """

    @abstractmethod
    def reward(self, before: Array, action: Array, after: Array) -> Array:
        """
        Return the rewards (...) of transitions.

        :param before: (..., n) observations before the actions
        :param action: (..., a) in [-1, 1]
        :param after: (..., n) observations after the actions
        """

    def costs(self, after: Array, action: Array) -> Mapping[str, Array]:
        """Return cost term -> (...) for each of `spec.costs`, in the states (..., n) reached."""
        return {}

    def outcome(self, after: Array, world: World) -> Outcome:
        """Return how the state (n,) ends the episode; RUNNING if it does not."""
        return Outcome.RUNNING

    def judge(self, episode: Episode) -> Outcome:
        """Return the outcome of a finished episode, from its records alone."""
        return episode.outcome

    def metrics(self, episode: Episode) -> Mapping[str, Metric]:
        """Return metric -> its value for each of `spec.metrics`."""
        return {}

    # Used by the package; a task does not override these.

    @property
    def name(self) -> str:
        """Return the name in bundles and data sets."""
        return self.spec.name

    @property
    def horizon(self) -> int:
        """Return the control ticks per episode."""
        return self.spec.horizon

    @property
    def observation_dim(self) -> int:
        """Return n, the number of values of an observation."""
        return self.spec.observation_dim

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Return the sources needed every tick: those of the spec, of success and of reward."""
        given = [self.settings.success.source] if self.settings.success is not None else []
        given += [self.settings.reward] if self.settings.reward else []
        return tuple(dict.fromkeys([*self.spec.sources, *given]))

    @property
    def action_dim(self) -> int:
        """Return the width of an action."""
        return self.spec.action_dim

    @property
    def observation_names(self) -> list[str]:
        """Return one name per value of an observation, n of them."""
        return self.spec.observation_names

    @property
    def attributes(self) -> dict[str, Any]:
        """Return the attributes of data sets: task, terms, term_widths, action, encoders."""
        kept = {'task': self.name, 'terms': list(self.spec.widths),
                'term_widths': list(self.spec.widths.values()), 'action': self.spec.action_text}
        return {**kept, 'encoders': json.dumps(self.spec.encoders)} if self.spec.encoders else kept

    def differences(self, widths: Mapping[str, int], action: str,
                    encoders: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
        """Return each difference of terms, action and encoders from the task's, in words."""
        return differing(self.spec, widths, action, encoders)

    @cached_property
    def constraint_names(self) -> list[str]:
        """Return the names of the robot file's constraints, C of them."""
        return [c.name for c in self.robot.constraints]

    @cached_property
    def constraint_limits(self) -> Array:
        """Return the limits of the constraints, (C,)."""
        return np.asarray([c.limit for c in self.robot.constraints], dtype=float)

    def constraint_costs(self, after: Array, action: Array, effort: Array) -> Array:
        """
        Return the costs (..., C) of states, one column per constraint of the robot file.

        The costs of interventions of the filter and of takeovers are not included, since the state
        does not show them; `intervention_costs` adds them.

        :param after: (..., n) observations after the actions
        :param action: (..., a)
        :param effort: (..., d) N m
        """
        return constraint_costs(self, self.robot.constraints, after, action, effort)


def constraint_costs(task: Task, constraints: Sequence[Constraint], after: Array, action: Array,
                     effort: Array) -> Array:
    """Return the costs of `Task.constraint_costs` for the given constraints."""
    none = np.zeros(after.shape[:-1])
    if not constraints:
        return np.zeros((*after.shape[:-1], 0))
    terms: dict[str, Any] = {**task.costs(after, action), 'torque': (
        np.abs(effort) >= np.asarray(task.robot.limits.torque)).any(axis=-1).astype(float)}
    return np.stack([np.asarray(sum((terms[name] for name in c.terms if name in terms), none))
                     for c in constraints], axis=-1)


def average_metrics(specs: Sequence[MetricSpec], episodes: Sequence[Mapping[str, Any]]
                    ) -> dict[str, float]:
    """Return metric -> mean over the episodes' `metrics`; NaN if no episode has it."""
    means = {}
    for spec in specs:
        values = [each['metrics'][spec.name] for each in episodes
                  if spec.name in each.get('metrics', {})]
        means[spec.name] = float(np.mean(values)) if values else float('nan')
    return means
