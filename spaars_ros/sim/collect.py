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

"""Rollouts of an ONNX policy in a Gymnasium environment, as D4RL's *medium* sets were made."""

from collections.abc import Callable
import hashlib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
import onnxruntime

from spaars_ros.data.inference import session_options
from spaars_ros.data.transitions import Transitions
from spaars_ros.data.transitions import transitions_from_fields
from spaars_ros.sim.environments import costs_of
from spaars_ros.sim.environments import executed_action
from spaars_ros.sim.environments import reports_costs

Floats = NDArray[np.float32]

BEYOND = 1e-5
"""Share of the range of an action by which a float32 graph may exceed its bounds."""


class RolloutError(ValueError):
    """A policy file or an environment cannot be rolled out; the message names it and says why."""


class OnnxPolicy:
    """
    An ONNX graph as a policy: `observation` (batch, n) and, if stochastic, `noise` (batch, d).

    Its output `action` (batch, d) is in the environment's units. The noise is standard normal; a
    graph without that input is deterministic. The constructor checks the graph against the
    environment.

    :param path: of the ONNX file
    :param env: environment with bounded actions (d,) and observations (n,)
    :raises RolloutError: the graph is invalid, or does not fit the environment
    """

    def __init__(self, path: str | os.PathLike[str], env: 'gymnasium.Env[Any, Any]') -> None:
        self.where = str(path)
        if Path(path).exists() and not Path(path).is_file():
            raise RolloutError(f'{path}: not a file')
        try:
            graph = Path(path).read_bytes()
        except OSError as error:
            raise RolloutError(f'{path}: {error.strerror}') from None
        self.digest = hashlib.sha256(graph).hexdigest()
        self.low, self.high = _bounds(env)
        self._session = self._load(graph)
        self.stochastic = 'noise' in {item.name for item in self._session.get_inputs()}
        n, d = env.observation_space.shape, env.action_space.shape
        assert n is not None and d is not None
        self._check_signature(n[0], d[0])
        self(np.zeros(n[0], np.float32), np.zeros(d[0], np.float32))

    def _load(self, graph: bytes) -> onnxruntime.InferenceSession:
        try:
            # From bytes, so that a graph cannot name other files to be read.
            return onnxruntime.InferenceSession(graph, session_options(),
                                                providers=['CPUExecutionProvider'])
        except Exception as error:  # noqa: BLE001 - the C++ side raises several unrelated kinds
            raise RolloutError(f'{self.where}: not a valid ONNX graph: '
                               + str(error).splitlines()[0]) from None

    def _check_signature(self, n: int, d: int) -> None:
        inputs = {item.name: item for item in self._session.get_inputs()}
        outputs = {item.name: item for item in self._session.get_outputs()}
        if not {'observation'} <= set(inputs) <= {'observation', 'noise'} \
                or 'action' not in outputs:
            raise RolloutError(f'{self.where}: inputs {sorted(inputs)}, outputs {sorted(outputs)}'
                               '; expected observation and, at will, noise; action')
        for name, item, width in (('observation', inputs['observation'], n),
                                  ('noise', inputs.get('noise'), d),
                                  ('action', outputs['action'], d)):
            if item is None:
                continue
            if item.type != 'tensor(float)':
                raise RolloutError(f'{self.where}: {name} is {item.type}, expected float32')
            if len(item.shape) != 2 or (isinstance(item.shape[1], int) and item.shape[1] != width):
                raise RolloutError(f'{self.where}: {name} has shape {item.shape}, the environment '
                                   f'wants (batch, {width})')

    def __call__(self, observation: NDArray[Any], noise: Floats) -> Floats:
        """
        Return the action (d,) for an observation (n,) and noise (d,).

        :raises RolloutError: it is not finite, or out of bounds
        """
        feed = {'observation': np.asarray(observation, np.float32)[None]}
        if self.stochastic:
            feed['noise'] = noise[None]
        try:
            action: Floats = self._session.run(['action'], feed)[0]
        except Exception as error:  # noqa: BLE001 - as above; a graph may fail on its own shapes
            raise RolloutError(f'{self.where}: {str(error).splitlines()[0]}') from None
        if action.shape != (1, len(self.low)):
            raise RolloutError(f'{self.where}: action has shape {action.shape}, expected '
                               f'{(1, len(self.low))}')
        slack = BEYOND * (self.high - self.low)
        # Written so that NaN fails it, too.
        fits = (action[0] >= self.low - slack) & (action[0] <= self.high + slack)
        if not fits.all():
            j = int(np.flatnonzero(~fits)[0])
            raise RolloutError(f'{self.where}: action at {j} is {action[0, j]:g}, outside '
                               f'[{self.low[j]:g}, {self.high[j]:g}]')
        return np.clip(action[0], self.low, self.high)


def _bounds(env: 'gymnasium.Env[Any, Any]') -> tuple[Floats, Floats]:
    for name, space in (('observations', env.observation_space), ('actions', env.action_space)):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise RolloutError(f'{_name(env)}: {name} are {space}, expected one row of numbers')
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise RolloutError(f'{_name(env)}: actions are not bounded: {space}')
    return space.low.astype(np.float32), space.high.astype(np.float32)


def _name(env: 'gymnasium.Env[Any, Any]') -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def roll_out(env: 'gymnasium.Env[Any, Any]', policy: OnnxPolicy, *, transitions: int, seed: int,
             progress: Callable[[int], None] | None = None) -> Transitions:
    """
    Record complete episodes until there are at least `transitions` transitions.

    The same seed gives the same data: the resets of all episodes and all noise come from one seed
    sequence. Where the environment reports `cost` or `costs` in its info, in every step or in
    some, they are recorded.

    :param env: the environment
    :param policy: the policy, checked against it
    :param transitions: minimum number
    :param seed: of resets and noise
    :param progress: called with the number of transitions after each episode
    :raises RolloutError: the policy or the environment returned a non-finite value, or an episode
        does not end
    """
    starts, noises = (np.random.default_rng(child)
                      for child in np.random.SeedSequence(seed).spawn(2))
    columns: dict[str, list[Any]] = {name: [] for name in (
        'observations', 'actions', 'rewards', 'next_observations', 'terminations', 'truncations',
        'costs', 'episode')}
    episodes, reported = 0, False
    while len(columns['rewards']) < transitions:
        observation, _ = env.reset(seed=int(starts.integers(2**31)))
        ended, first = False, len(columns['rewards'])
        while not ended:
            noise = noises.standard_normal(len(policy.low), np.float32)
            action = policy(observation, noise)
            # A copy: an environment may write its next observation into the same array.
            before = np.array(observation, np.float32)
            observation, reward, terminated, truncated, info = env.step(action)
            reported |= reports_costs(info)
            row = (before, executed_action(env, action, info), reward,
                   np.array(observation, np.float32), terminated, truncated, costs_of(info),
                   episodes)
            for column, value in zip(columns.values(), row):
                column.append(value)
            ended = bool(terminated or truncated)
            if len(columns['rewards']) - first > max(transitions, 100_000):
                raise RolloutError(f'{_name(env)}: episode {episodes} does not end; give the '
                                   'environment a time limit')
        episodes += 1
        if progress is not None:
            progress(len(columns['rewards']))
    fields = {name: np.asarray(column) for name, column in columns.items()}
    if not reported:
        del fields['costs']
    data = transitions_from_fields(fields, where=_name(env))
    returns = data.returns
    data.attributes.update(
        env=_name(env), policy=Path(policy.where).name, policy_sha256=policy.digest,
        seed=str(seed), episodes=str(data.episodes), return_mean=f'{returns.mean():.6g}',
        return_std=f'{returns.std():.6g}', **_versions())
    return data


def _versions() -> dict[str, str]:
    found = {}
    for name in ('gymnasium', 'mujoco'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a source checkout on the path
            continue
    return found
