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
"""Environment steps per second of `spaars train --envs N`, and by calculation of more cores."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.tables import write_table
from spaars_ros.learning.core.averaged import AveragedWeights
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.gym.offline_replay import online_replay
from spaars_ros.learning.gym.parallel_rollouts import ParallelRollouts
from spaars_ros.learning.gym.progress import Progress
from spaars_ros.learning.gym.rollout import ActionScaler
from spaars_ros.learning.gym.rollout import Env
from spaars_ros.learning.gym.rollout import random_observations
from spaars_ros.learning.gym.versions import Versions
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.sim.environment_step import EnvironmentStep
from spaars_ros.sim.environments import make_environment
from spaars_ros.sim.parallel_environments import Environments
from spaars_ros.sim.parallel_environments import ParallelEnvironments
from spaars_ros.sim.parallel_environments import SingleEnvironment
from spaars_ros.training_file import load_training

ENVIRONMENTS = {'SpaarsReach-v0': 'spaars', 'HalfCheetah-v5': 'locomotion'}
"""Gymnasium id -> training file, whose networks act."""
COUNTS = (1, 2, 4)
"""Environments that are measured."""
CORES = 16
"""Cores, and environments, of the calculation."""
COMMAND = './run bench envs'


class Timed:
    """Environments whose steps and resets are timed."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self.count = environments.count
        self.seconds = 0.0
        """s in steps and resets since it was last set to 0."""

    def reset(self, seeds: Mapping[int, int]) -> dict[int, NDArray[np.float64]]:
        """Begin episodes; see `Environments`."""
        return self._timed(partial(self._environments.reset, seeds))

    def step(self, actions: Sequence[NDArray[Any]]) -> list[EnvironmentStep]:
        """Do a step in every environment; see `Environments`."""
        return self._timed(partial(self._environments.step, actions))

    def stop(self) -> None:
        """End the processes."""
        self._environments.stop()

    def _timed(self, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = call()
        self.seconds += time.perf_counter() - began
        return result


def speed(environments: Environments, env: Env, env_id: str, *, seconds: float, seed: int
          ) -> tuple[float, float]:
    """
    Return s per environment step: of everything, and of it in steps and resets.

    An untrained policy of the training file's networks acts with exploration noise, and
    transitions are stored; there are no updates.

    :param env: one of the environments, of whose spaces everything is made
    :param seconds: s of measurement, at least
    """
    torch.manual_seed(seed)
    training = load_training(ENVIRONMENTS[env_id])
    boxes = ActionScaler.of(env_id, env)
    normaliser = Normaliser.of(random_observations(env, boxes, seed), least=0.1)
    algorithm = make_algorithm(
        training.algorithm, training, observation=boxes.observation, action=boxes.action,
        constraints=0, normaliser=normaliser, seed=seed)
    replay = online_replay(boxes, task=None, normaliser=normaliser, training=training,
                           constraints=0)
    timed = Timed(environments)
    rollouts = ParallelRollouts(
        timed, boxes, algorithm,
        Versions(algorithm.agent, AveragedWeights(algorithm.agent, 0.0), None, 1.0), replay,
        Progress(), seed=seed)
    try:
        rollouts.advance()  # starts the processes
        rollouts.take_ended()
        timed.seconds, steps, began = 0.0, 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            steps += rollouts.advance()
            rollouts.take_ended()
        return (time.perf_counter() - began) / steps, timed.seconds / steps
    finally:
        rollouts.stop()


def measure(env_id: str, *, seconds: float, seed: int) -> dict[str, float]:
    """
    Return what one environment measures.

    Keys: `rate_<N>`, environment steps per second of N environments; `step_s`, s of one step in
    this process, resets included; `policy_s`, s of policy and replay per step; `transfer_s`, s
    that a step takes longer in a process of its own.
    """
    make = partial(make_environment, env_id)
    env = make()
    found: dict[str, float] = {}
    try:
        of = partial(speed, env=env, env_id=env_id, seconds=seconds, seed=seed)
        whole, step = of(SingleEnvironment(env))
        found['step_s'], found['policy_s'] = step, whole - step
        found['transfer_s'] = max(0.0, of(ParallelEnvironments(make, 1))[1] - step)
        for count in COUNTS:
            found[f'rate_{count}'] = 1.0 / (
                whole if count == 1 else of(ParallelEnvironments(make, count))[0])
    finally:
        env.close()
    return found


def calculated(unit: Mapping[str, float], cores: int) -> float:
    """
    Return environment steps per second of as many environments as cores.

    Steps of the environments run at the same time; policy, replay and transfer between processes
    are serial (Amdahl's law). Part of the transfer is waiting, so this is a lower bound.
    """
    serial = unit['policy_s'] + unit['transfer_s']
    return cores / (cores * serial + unit['step_s'])


def run(seconds: float = 20.0, seed: int = 0, tables: bool = False) -> dict[str, Any]:
    """Return the measurements and the calculation; with `tables`, also write the table's file."""
    torch.set_num_threads(1)
    units = {env_id: measure(env_id, seconds=seconds, seed=seed) for env_id in ENVIRONMENTS}
    rates = {env_id: calculated(unit, CORES) for env_id, unit in units.items()}
    if tables:
        write_table('envs', [
            'environment', *(f'N = {count}, steps/s' for count in COUNTS), 'one step, ms',
            'policy and replay, ms', 'transfer, ms', f'{CORES} cores, N = {CORES}, steps/s'],
            [[env_id, *(f'{unit[f"rate_{count}"]:.0f}' for count in COUNTS),
              *(f'{1e3 * unit[key]:.2f}' for key in ('step_s', 'policy_s', 'transfer_s')),
              f'{rates[env_id]:.0f}'] for env_id, unit in units.items()],
            command=COMMAND, seeds=[seed],
            note=f'measured on {os.cpu_count()} cores; the last column by calculation')
    return {'units': units, f'rate_{CORES}': rates, 'cores': os.cpu_count()}
