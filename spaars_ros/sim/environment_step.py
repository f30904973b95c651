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
"""What an environment returns for one action, with costs, success and executed action."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from spaars_ros.sim.environments import costs_of
from spaars_ros.sim.environments import executed_action
from spaars_ros.sim.environments import reports_costs

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnvironmentStep:
    """One step of an environment."""

    observation: Array
    """(n,) physical units; a copy."""
    reward: float
    terminated: bool
    truncated: bool
    costs: Array
    """(C,)"""
    reports_costs: bool
    executed: Array | None
    """(d,) action after the safety filter, in [-1, 1]; None: as it was chosen."""
    success: float
    """1 or 0 at the end of an episode; NaN if the environment reports none."""


def step_environment(env: 'gymnasium.Env[Any, Any]', action: NDArray[Any]) -> EnvironmentStep:
    """Do one step with an action (d,) in the environment's units."""
    observation, reward, terminated, truncated, info = env.step(action)
    # A copy: an environment may write its next observation into the same array.
    return EnvironmentStep(
        np.array(observation, np.float64), float(reward), bool(terminated), bool(truncated),
        costs_of(info), reports_costs(info), executed_action(env, None, info),
        float(info.get('success', np.nan)))
