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
"""Gymnasium environments of this package by id, and functions that make them."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import load_robot
from spaars_ros.sim.env import ArmEnv
from spaars_ros.sim.kitchen import KITCHEN as KITCHEN  # noqa: PLC0414 - importing registers it
from spaars_ros.sim.staged import StagedEnv
from spaars_ros.tasks.registry import known_tasks
from spaars_ros.tasks.registry import load_task

REACH = 'SpaarsReach-v0'
"""Id of reach in version 0.1.0."""
FILTERED = (ArmEnv, StagedEnv)
"""Environments whose `info['executed']` is the action after the safety filter, in [-1, 1]."""


def arm_environment(task: str = 'reach', robot: str = '', **kwargs: Any) -> ArmEnv:
    """Return the environment of a task file and a robot file ('': the task's), name or path."""
    settings = load_task(task)
    return ArmEnv(load_robot(robot or settings.robot or 'panda'), settings, **kwargs)


def register_tasks() -> None:
    """Register `spaars_ros/<task>-v0` for every installed task, and the id of version 0.1.0."""
    for env_id, task in ((REACH, 'reach'),
                         *((f'spaars_ros/{name}-v0', name) for name in known_tasks())):
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, entry_point=arm_environment, kwargs={'task': task})


register_tasks()


def is_arm(env_id: str) -> bool:
    """Return whether an id is one of a task on the arm."""
    return env_id == REACH or env_id.startswith('spaars_ros/')


def make_environment(env_id: str) -> 'gymnasium.Env[Any, Any]':
    """Make a registered environment; raise ValueError for an unknown id or a missing package."""
    try:
        return gymnasium.make(env_id)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f'environment {env_id}: {error}') from None


def executed_action(env: 'gymnasium.Env[Any, Any]', action: Any, info: dict[str, Any]) -> Any:
    """
    Return the action (d,) of a step to be stored: the executed one where it is known.

    Only in `FILTERED` the key `executed` has that meaning.
    """
    return info['executed'] if isinstance(env.unwrapped, FILTERED) else action


def costs_of(info: dict[str, Any]) -> NDArray[np.float64]:
    """Return the costs of a step, (C,): `info['costs']`, or `info['cost']`, or 0."""
    if 'costs' in info:
        return np.array(info['costs'], dtype=np.float64)
    return np.atleast_1d(np.array(info.get('cost', 0.0), dtype=np.float64))


def reports_costs(info: dict[str, Any]) -> bool:
    """Return whether a step reports a cost; some environments do so only where it is not 0."""
    return 'costs' in info or 'cost' in info
