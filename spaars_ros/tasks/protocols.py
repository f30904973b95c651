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

"""What a task may offer besides; found by `isinstance`, never required."""

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
    """A task with a goal per episode, which hindsight may replace."""

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Return a goal, a vector of any length."""

    def hindsight(self, observation: Array, achieved: Array,
                  rng: np.random.Generator) -> Array:
        """Return goals (B, g) that the achieved observations (B, n) serve, NaN for none."""

    def relabel(self, observation: Array, goal: Array) -> Array:
        """Return observations (..., n) as they would be with goals (..., g)."""


@runtime_checkable
class Potential(Protocol):
    """A task with a potential for shaping (Ng, Harada and Russell 1999)."""

    def potential(self, observation: Array) -> Array:
        """Return the potential (...) of observations (..., n)."""


@runtime_checkable
class TopView(Protocol):
    """A task whose episodes are paths that a report can draw."""

    def tip(self, observation: Array) -> Array:
        """Return the tool tip (..., 3) m, base frame, of observations (..., n)."""

    def target(self, observation: Array) -> Array:
        """Return the place (..., 3) m that the episode is about, NaN for none."""


@runtime_checkable
class Scene(Protocol):
    """The simulated side of a task: what stands around the arm, as MuJoCo has it."""

    def build(self, spec: Any) -> None:
        """
        Add bodies, sensors and cameras to the robot's model, a `mujoco.MjSpec`.

        Geoms take the model's defaults: set contype and conaffinity where something is to touch.
        """

    def reset(self, model: Any, data: Any, rng: np.random.Generator) -> None:
        """Place the objects, in `mujoco.MjData`; the arm is at its start already."""

    def measure(self, model: Any, data: Any) -> Mapping[str, Array]:
        """Return source -> the values that its sensor reads now, once a control tick."""

    def actuate(self, model: Any, data: Any, channels: Mapping[str, float]) -> None:
        """Apply the channels' values, once a physics step; the model's actuators are off."""


@runtime_checkable
class HasScene(Protocol):
    """A task with a simulated side."""

    def scene(self) -> Scene:
        """Return a new scene."""


class Operator(Protocol):
    """Somebody who steers episodes."""

    def begin(self, observation: Array) -> None:
        """Begin an episode."""

    def act(self, observation: Array) -> Array:
        """Return the action (d,) in [-1, 1]."""

    @property
    def done(self) -> bool:
        """Return whether this one lets the episode end here."""


@runtime_checkable
class Guarded(Protocol):
    """An operator who looks after the whole arm, if told what is near it."""

    def guard(self, gap: Callable[[Array], float]) -> None:
        """Take `gap`: joint positions (d,) rad -> m to the nearest that must not be touched."""


@runtime_checkable
class Candid(Protocol):
    """An operator who knows whether an episode went as intended."""

    @property
    def failure(self) -> str:
        """Return why the episode did not go as intended, '' where it did."""


@runtime_checkable
class Informed(Protocol):
    """A task whose scripted demonstrator is shown more than the policy: the simulation's truth."""

    def informed(self, world: World) -> Array:
        """Return what the demonstrator acts on in place of the observation."""


@runtime_checkable
class Demonstrator(Protocol):
    """A task with a scripted demonstrator."""

    def demonstrator(self, rng: np.random.Generator) -> Operator:
        """Return one, who draws from `rng`."""


@runtime_checkable
class Corrector(Protocol):
    """A task with somebody who takes over where a policy fails: better than who demonstrated."""

    def corrector(self, rng: np.random.Generator) -> Operator:
        """Return one, who draws from `rng`."""


def goal_of(task: Any, rng: np.random.Generator) -> Array | None:
    """Return a goal of a task, None where it has none."""
    return task.sample_goal(rng) if isinstance(task, Goals) else None


def scene_of(task: Any) -> Scene | None:
    """Return a new scene of a task, None where it has none."""
    return task.scene() if isinstance(task, HasScene) else None


__all__ = ['Candid', 'Corrector', 'Demonstrator', 'Goals', 'Guarded', 'HasScene', 'Informed',
           'Operator', 'Potential', 'Scene', 'TopView', 'goal_of', 'scene_of']
