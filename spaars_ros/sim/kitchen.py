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

"""Franka Kitchen of gymnasium-robotics as a flat environment, with D4RL's two conventions."""

from importlib import import_module
from typing import Any
from typing import Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KITCHEN = 'SpaarsKitchen-v0'
"""The environment for training."""
KITCHEN_EVALUATION = 'SpaarsKitchenEvaluation-v0'
"""The environment for evaluation; `spaars train` uses it to evaluate a training on the other."""
MIXED = ('microwave', 'kettle', 'bottom burner', 'light switch')
"""D4RL's kitchen-mixed: sub-tasks that the data never show in one episode."""
KEPT = 30
"""Values of D4RL's observation that are not the goal: 9 joints of the arm, 21 of the kitchen."""
D4RL_WIDTH, ROBOTICS_WIDTH = 60, 59


def flat(observations: NDArray[Any]) -> NDArray[Any]:
    """
    Return the positions (..., 30): 9 of the arm and its fingers, 21 of the kitchen.

    :param observations: (..., 60) as in D4RL, positions and goal; (..., 59) as in
        gymnasium-robotics, with the arm's velocities between and the kitchen's at the end; or
        (..., 30)
    :raises ValueError: they have another width
    """
    width = observations.shape[-1]
    if width == ROBOTICS_WIDTH:
        return np.concatenate((observations[..., :9], observations[..., 18:39]), axis=-1)
    if width not in (D4RL_WIDTH, KEPT):
        raise ValueError(f'kitchen: observations have {width} values a row, expected {KEPT}, '
                         f'{ROBOTICS_WIDTH} or {D4RL_WIDTH}')
    return observations[..., :KEPT]


class KitchenEnv(gymnasium.Env[Array, Array]):
    """
    `FrankaKitchen-v1` with the observation of D4RL's data, and the reward of one side.

    Observation (30,): positions only (`flat`). Actions (9,) in [-1, 1].

    * training: the reward of a tick is the number of sub-tasks that are satisfied in it, as
      cumulated in D4RL's data. An episode never terminates; it is truncated after 280 ticks. Its
      return grows to hundreds.
    * evaluation: a sub-task counts once, when it is first satisfied. The return is the number
      done, 0 to 4, and the fourth terminates the episode.

    D4RL selects this by REMOVE_TASKS_WHEN_COMPLETE, false and true (docs/results/staged.md; that
    the training side does not terminate is this project's choice). `info` holds `stages` (which
    have been done in this episode) and `success` (all).
    """

    metadata = {'render_modes': []}

    def __init__(self, side: Literal['training', 'evaluation'] = 'training',
                 tasks: tuple[str, ...] = MIXED) -> None:
        """
        Make the environment.

        :param side: training or evaluation
        :param tasks: names of sub-tasks, as in gymnasium-robotics
        :raises ImportError: gymnasium-robotics is not installed
        """
        try:
            # Imported by name: only training in the kitchen needs it.
            gymnasium.register_envs(import_module('gymnasium_robotics'))
        except ImportError as error:
            raise ImportError(f'{KITCHEN} needs the extra kitchen: pip install '
                              f'"gymnasium-robotics>=1.4,<2" ({error})') from None
        once = side == 'evaluation'
        self.tasks = tuple(tasks)
        self._inner: gymnasium.Env[Any, Any] = gymnasium.make(
            'FrankaKitchen-v1', tasks_to_complete=list(tasks), remove_task_when_completed=once,
            terminate_on_tasks_completed=once, disable_env_checker=True)
        self.action_space = self._inner.action_space
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (KEPT,), np.float64)

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        observation, info = self._inner.reset(seed=seed)
        return flat(observation['observation']).copy(), self._info(info)

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        stages = [name in info['episode_task_completions'] for name in self.tasks]
        return {'stages': stages, 'success': all(stages)}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Advance one tick with an action (9,) in [-1, 1]."""
        observation, reward, terminated, truncated, info = self._inner.step(action)
        return (flat(observation['observation']).copy(), float(reward), bool(terminated),
                bool(truncated), self._info(info))

    def close(self) -> None:
        """Close the simulation."""
        self._inner.close()


def evaluation_id(env_id: str) -> str:
    """Return the Gymnasium id in which a training on `env_id` is evaluated."""
    return KITCHEN_EVALUATION if env_id == KITCHEN else env_id


for _name, _side in ((KITCHEN, 'training'), (KITCHEN_EVALUATION, 'evaluation')):
    if _name not in gymnasium.registry:
        gymnasium.register(_name, entry_point='spaars_ros.sim.kitchen:KitchenEnv',
                           kwargs={'side': _side})
