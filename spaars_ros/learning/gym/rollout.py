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
"""Rollouts of an algorithm in a Gymnasium environment: training episodes and evaluations."""

from collections import deque
from dataclasses import dataclass
from typing import Any
from typing import cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Algorithm
from spaars_ros.learning.core.algorithm import EpisodeLearner
from spaars_ros.learning.core.replay import Replay
from spaars_ros.sim.environment_step import EnvironmentStep
from spaars_ros.sim.environments import costs_of

Array = NDArray[np.float64]
Env = gymnasium.Env[Any, Any]

SEGMENT = 50
"""Environment steps after which transitions are stored and updates are done; fewer at the end of
an episode. Until the next segment is stored, returns bootstrap at the end of the segment."""
EVALUATION_SEED = 10_000
ENDLESS = 100_000
"""Steps after which an episode counts as endless."""
STALL = 30
"""Number of steps at the end of an episode in which a stalled robot does not move."""
STILL = 0.01
"""Maximum change of each observation of a stalled robot, m or rad, or relative if above 1."""
PROBE = 1000
"""Number of random transitions from which observations are normalised without a data set."""


@dataclass(frozen=True)
class ActionScaler:
    """Widths of an environment's spaces, and scaling of its actions to and from [-1, 1]."""

    observation: int
    action: int
    middle: Array
    """(d,) middle of the action space."""
    half: Array
    """(d,) half the width of the action space."""
    low: NDArray[Any]
    """(d,) lower bounds of the action space, in its dtype."""
    high: NDArray[Any]
    """(d,) upper bounds of the action space, in its dtype."""

    @classmethod
    def of(cls, env_id: str, env: Env) -> 'ActionScaler':
        """
        Read the spaces of an environment.

        :raises ValueError: a space is not a one-dimensional Box, or the bounds of actions are not
            finite, not floating-point or equal
        """
        actions, observations = env.action_space, env.observation_space
        for name, space in (('action', actions), ('observation', observations)):
            if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
                raise ValueError(f'{env_id}: {name} space {space} is no Box of one axis')
        box = cast(gymnasium.spaces.Box, actions)
        if not np.issubdtype(box.dtype, np.floating):
            raise ValueError(f'{env_id}: actions are {box.dtype}, expected floating-point numbers')
        if not (np.isfinite(box.low).all() and np.isfinite(box.high).all()):
            raise ValueError(f'{env_id}: the action space has no finite bounds: {box}')
        fixed = np.flatnonzero(~(box.low < box.high))
        if len(fixed):
            raise ValueError(f'{env_id}: action {fixed[0]} cannot vary: its bounds are '
                             f'{box.low[fixed[0]]:g} and {box.high[fixed[0]]:g}')
        return cls(cast(gymnasium.spaces.Box, observations).shape[0], len(box.low),
                   (box.high.astype(np.float64) + box.low) / 2.0,
                   (box.high.astype(np.float64) - box.low) / 2.0, box.low, box.high)

    def physical(self, action: Array) -> NDArray[Any]:
        """
        Convert actions (..., d) in [-1, 1] to those of the environment.

        The result has the dtype of the action space and is within its bounds.
        """
        # Box.contains, which environments assert, needs the dtype of the box; rounding to it may
        # exceed a bound.
        return np.clip((self.middle + self.half * action).astype(self.low.dtype), self.low,
                       self.high)

    def normalised(self, action: NDArray[Any]) -> NDArray[np.float32]:
        """Convert actions (..., d) of the environment to [-1, 1]."""
        return ((action - self.middle) / self.half).astype(np.float32)


class Rollout:
    """
    One training episode; its transitions are added to a replay in segments.

    Where other episodes add to the same replay in between, returns and hindsight goals do not
    reach across the seam of two segments: n-step returns bootstrap there.

    :param observation: (n,) of the reset
    :param replay: gets as many of each step's costs as it has constraints
    :param segment: steps after which transitions are stored; fewer at the end of the episode
    """

    def __init__(self, observation: Array, replay: Replay, segment: int = SEGMENT) -> None:
        self._replay, self._segment = replay, segment
        self.observations = [observation]
        """T + 1 observations (n,), physical units."""
        self.actions: list[Array] = []
        self.modes: list[int] = []
        self.rewards: list[float] = []
        self.costs: list[Array] = []
        self.done = self.terminated = self.reported_costs = False
        self.success = float('nan')
        """Success reported with the newest step, 1 or 0; NaN if the environment reports none."""
        self._stored = self._joined = 0
        self._changes = -1

    def add(self, choice: ActionSample, step: EnvironmentStep) -> int:
        """Add a step and what was chosen for it; return the number of transitions stored."""
        check_step(step.observation, step.reward, step.costs, len(self.actions))
        self.reported_costs |= step.reports_costs
        self.observations.append(step.observation)
        self.actions.append(choice.action if step.executed is None else step.executed)
        self.modes.append(choice.mode)
        self.rewards.append(step.reward)
        self.costs.append(step.costs)
        self.terminated, self.success = step.terminated, step.success
        self.done = step.terminated or step.truncated
        if not self.done:
            check_length(len(self.actions))
        if not self.done and len(self.actions) - self._stored < self._segment:
            return 0
        return self._store()

    def _store(self) -> int:
        """Add the steps since the last segment to the replay; return their number."""
        part = slice(self._stored, len(self.actions))
        continues = self._joined if self._replay.changes == self._changes else 0
        self._replay.add_episode(
            np.asarray(self.observations[self._stored:]), np.asarray(self.actions[part]),
            self.terminated, rewards=np.asarray(self.rewards[part]),
            costs=np.asarray(self.costs[part])[:, :self._replay.constraints],
            modes=np.asarray(self.modes[part]), continues=continues)
        self._changes = self._replay.changes
        count = len(self.actions) - self._stored
        self._joined, self._stored = continues + count, len(self.actions)
        return count


def check_step(observation: Any, reward: Any, costs: Array, step: int) -> None:
    """Raise ValueError, with name and step, if the environment returned a non-finite value."""
    for name, values in (('observation', observation), ('reward', reward), ('cost', costs)):
        values = np.atleast_1d(values)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ValueError(f'the environment returned {name} {bad[0]} = {values[bad[0]]} at '
                             f'step {step} of an episode')


def check_length(steps: int) -> None:
    """Raise ValueError if an episode reaches `ENDLESS` steps."""
    if steps >= ENDLESS:
        raise ValueError(f'an episode has not ended after {steps} steps: give the environment a '
                         'time limit (max_episode_steps)')


def evaluate(env: Env, boxes: ActionScaler, algorithm: Algorithm, episodes: int,
             explore: bool = False) -> dict[str, Any]:
    """
    Evaluate an algorithm on the same seeds every time; return means over episodes.

    :param episodes: number of episodes
    :param explore: whether to add exploration noise
    :raises ValueError: a non-finite value, or an endless episode
    """
    returns, costs, raw, succeeded, still = [], [], [], [], []
    rng = np.random.default_rng(0)
    for number in range(episodes):
        observation, info = env.reset(seed=EVALUATION_SEED + number)
        if isinstance(algorithm, EpisodeLearner):
            algorithm.begin_episode()
        total, cost, steps, done = 0.0, 0.0, 0, False
        newest: deque[Array] = deque(maxlen=STALL)
        while not done:
            newest.append(np.array(observation, np.float64))
            choice = algorithm.choose(newest[-1], rng, explore)
            observation, reward, terminated, truncated, info = env.step(
                boxes.physical(choice.action))
            spent = costs_of(info)
            check_step(observation, reward, spent, steps)
            steps += 1
            total += float(reward)
            cost += float(spent[:1].sum())  # 0 if the environment reports no cost
            raw.append(choice.mode == Mode.RAW)
            done = terminated or truncated
            if not done:
                check_length(steps)
        returns.append(total)
        costs.append(cost)
        succeeded.append(info.get('success', np.nan))
        still.append(truncated and stalls(np.asarray(newest)))
    return {'return_mean': float(np.mean(returns)), 'return_std': float(np.std(returns)),
            'cost_mean': float(np.mean(costs)), 'success': float(np.mean(succeeded)),
            'raw_share_evaluated': float(np.mean(raw)), 'stalled': float(np.mean(still))}


def stalls(observations: Array) -> bool:
    """Return whether nothing moved in the last `STALL` observations (T, n) of an episode."""
    if len(observations) < STALL:
        return False
    spread = observations.max(0) - observations.min(0)
    return bool((spread <= STILL * np.maximum(1.0, np.abs(observations).max(0))).all())


def random_observations(env: Env, boxes: ActionScaler, seed: int) -> Array:
    """Return observations (PROBE + 1, n) under random actions, for the normaliser."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    seen = [np.array(observation)]
    for _ in range(PROBE):
        observation, _, terminated, truncated, _ = env.step(
            boxes.physical(rng.uniform(-1.0, 1.0, boxes.action)))
        if terminated or truncated:
            observation, _ = env.reset()
        seen.append(np.array(observation))
    return np.asarray(seen, dtype=np.float64)
