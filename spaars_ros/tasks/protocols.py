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

"""Optional interfaces of tasks and operators, found by `isinstance`."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Protocol
from typing import runtime_checkable

import numpy as np

from spaars_ros.tasks.base import Array
from spaars_ros.tasks.base import World


@runtime_checkable
class Goals(Protocol):
    """Task with a goal per episode, which hindsight relabelling may replace."""

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Return a goal (g,) of any length g."""

    def hindsight(self, observation: Array, achieved: Array,
                  rng: np.random.Generator) -> Array:
        """Return goals (B, g) that the achieved observations (B, n) meet, NaN for none."""

    def relabel(self, observation: Array, goal: Array) -> Array:
        """Return observations (..., n) as they would be with goals (..., g)."""


@runtime_checkable
class Potential(Protocol):
    """Task with a potential for reward shaping (Ng, Harada and Russell 1999)."""

    def potential(self, observation: Array) -> Array:
        """Return the potential (...) of observations (..., n)."""


@runtime_checkable
class TopView(Protocol):
    """Task whose episodes are paths that a report can draw."""

    def tip(self, observation: Array) -> Array:
        """Return the tool tip (..., 3) m, base frame, of observations (..., n)."""

    def target(self, observation: Array) -> Array:
        """Return the target (..., 3) m, base frame, NaN for none."""


@runtime_checkable
class Scene(Protocol):
    """Simulated side of a task: the objects around the arm, in MuJoCo."""

    def build(self, spec: Any) -> None:
        """
        Add bodies, sensors and cameras to the robot's model, a `mujoco.MjSpec`.

        Geoms take the model's defaults: set contype and conaffinity for geoms that should collide.
        """

    def reset(self, model: Any, data: Any, rng: np.random.Generator) -> None:
        """Place the objects in `mujoco.MjData`; the arm is already at its start pose."""

    def measure(self, model: Any, data: Any) -> Mapping[str, Array]:
        """Return source -> the current values of its sensor, once per control tick."""

    def actuate(self, model: Any, data: Any, channels: Mapping[str, float]) -> None:
        """Apply the channels' values, once per physics step; the model's actuators are off."""


@runtime_checkable
class HasScene(Protocol):
    """Task with a simulated side."""

    def scene(self) -> Scene:
        """Return a new scene."""


class Operator(Protocol):
    """Source of actions in episodes: a person, or a script in the role of one."""

    def begin(self, observation: Array) -> None:
        """Begin an episode."""

    def act(self, observation: Array) -> Array:
        """Return the action (a,) in [-1, 1]."""

    @property
    def done(self) -> bool:
        """Return whether the operator ends the episode here."""


@runtime_checkable
class Guarded(Protocol):
    """Operator that keeps the whole arm clear of obstacles, given a distance function."""

    def guard(self, gap: Callable[[Array], float]) -> None:
        """Set `gap`: joint positions (d,) rad -> m to the nearest forbidden contact."""


@runtime_checkable
class Candid(Protocol):
    """Operator that knows whether an episode went as intended."""

    @property
    def failure(self) -> str:
        """Return why the episode did not go as intended, '' if it did."""


@runtime_checkable
class Informed(Protocol):
    """Task whose scripted demonstrator gets more of the simulation's state than the policy."""

    def informed(self, world: World) -> Array:
        """Return the demonstrator's input, which replaces the observation."""


@runtime_checkable
class Demonstrator(Protocol):
    """Task with a scripted demonstrator."""

    def demonstrator(self, rng: np.random.Generator) -> Operator:
        """Return a demonstrator; `rng` is its source of randomness."""


@runtime_checkable
class Corrector(Protocol):
    """Task with an operator who takes over when a policy fails, better than a demonstrator."""

    def corrector(self, rng: np.random.Generator) -> Operator:
        """Return a corrector; `rng` is its source of randomness."""


def goal_of(task: Any, rng: np.random.Generator) -> Array | None:
    """Return a goal of a task, None if it has no goals."""
    return task.sample_goal(rng) if isinstance(task, Goals) else None


def scene_of(task: Any) -> Scene | None:
    """Return a new scene of a task, None if it has no scene."""
    return task.scene() if isinstance(task, HasScene) else None


__all__ = ['Candid', 'Corrector', 'Demonstrator', 'Goals', 'Guarded', 'HasScene', 'Informed',
           'Operator', 'Potential', 'Scene', 'TopView', 'goal_of', 'scene_of']
