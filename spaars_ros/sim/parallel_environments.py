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
"""Environments that step at the same time: one in this process, or several in their own."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
import multiprocessing
import os
import signal
from typing import Any
from typing import Protocol

import gymnasium
from gymnasium.vector import AsyncVectorEnv
from gymnasium.vector import AutoresetMode
import numpy as np
from numpy.typing import NDArray

from spaars_ros.interrupts import die_with_parent
from spaars_ros.sim.environment_step import EnvironmentStep
from spaars_ros.sim.environment_step import step_environment

Array = NDArray[np.float64]
Env = gymnasium.Env[Any, Any]

THREADS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')
"""Environment variables; each process gets one thread unless the user sets another number."""


class EnvironmentFailure(RuntimeError):
    """A process of an environment failed or ended; the message names it."""


class Environments(Protocol):
    """Environments with the same spaces that step together."""

    @property
    def count(self) -> int:
        """Return N."""

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Array]:
        """Begin episodes in some environments (index -> seed); return their observations (n,)."""

    def step(self, actions: Sequence[NDArray[Any]]) -> list[EnvironmentStep]:
        """Do a step in every environment, with N actions (d,) in the environment's units."""

    def stop(self) -> None:
        """End the processes; the next reset starts them again."""


class SingleEnvironment:
    """One environment, in this process."""

    count = 1

    def __init__(self, env: Env) -> None:
        self._env = env

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Array]:
        """Begin an episode; see `Environments`."""
        return {index: np.array(self._env.reset(seed=seed)[0], np.float64)
                for index, seed in seeds.items()}

    def step(self, actions: Sequence[NDArray[Any]]) -> list[EnvironmentStep]:
        """Do a step; see `Environments`."""
        return [step_environment(self._env, actions[0])]

    def stop(self) -> None:
        """Do nothing: there is no process."""


class ParallelEnvironments:
    """
    N environments, each in a process of its own, by Gymnasium's `AsyncVectorEnv`.

    Autoreset is disabled, so that the last observation of an episode is its own. The processes
    start with the first reset. They are forked from a server that has imported what they need
    and nothing else: a fork of this process would inherit torch's threads and open files.

    :param make: makes one environment; is pickled with cloudpickle
    :param count: N, at least 1
    """

    def __init__(self, make: Callable[[], Env], count: int) -> None:
        self._make, self.count = make, count
        self._vector: AsyncVectorEnv | None = None

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Array]:
        """Begin episodes; raises EnvironmentFailure if one of the processes fails."""
        with self._failures():
            if self._vector is None:
                self._vector = self._start()
            mask = np.isin(np.arange(self.count), list(seeds))
            observations, infos = self._vector.reset(
                seed=[seeds.get(index) for index in range(self.count)],
                options={'reset_mask': mask})
        self._check(infos)
        return {index: observations[index].copy() for index in seeds}

    def step(self, actions: Sequence[NDArray[Any]]) -> list[EnvironmentStep]:
        """Do a step in every environment; raises EnvironmentFailure if a process fails."""
        assert self._vector is not None, 'reset comes first'
        with self._failures():
            observations, _, _, _, infos = self._vector.step(np.stack(actions))
        self._check(infos)
        return [replace(infos['step'][index], observation=observations[index].copy())
                for index in range(self.count)]

    def stop(self) -> None:
        """End the processes; the next reset starts them again."""
        vector, self._vector = self._vector, None
        if vector is None:
            return
        # Not `close`, which waits for answers of processes that may have ended.
        for process in vector.processes:
            process.terminate()
        for process, pipe in zip(vector.processes, vector.parent_pipes):
            process.join()
            pipe.close()
        vector.closed = True

    def _start(self) -> AsyncVectorEnv:
        multiprocessing.set_forkserver_preload([__name__])
        with _one_thread():
            return AsyncVectorEnv([partial(_Reporting, self._make, os.getpid())] * self.count,
                                  context='forkserver', autoreset_mode=AutoresetMode.DISABLED)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn the end of a process into an error that names it."""
        try:
            yield
        except (EOFError, OSError) as error:
            if self._vector is None:
                raise EnvironmentFailure(f'no process for each of {self.count} environments '
                                         f'({_text_of(error)}): fewer may fit') from None
            ended = {}
            for index, process in enumerate(self._vector.processes):
                process.join(0.1)
                if process.exitcode is not None:
                    ended[index] = process.exitcode
            self.stop()
            raise EnvironmentFailure(', '.join(
                f'the process of environment {index} of {self.count} ended (exit code {code})'
                for index, code in ended.items())
                + ': the same command resumes from the last checkpoint') from None

    def _check(self, infos: Mapping[str, Any]) -> None:
        for index, failure in enumerate(infos.get('failure', ())):
            if failure is not None:
                self.stop()
                raise EnvironmentFailure(f'environment {index} of {self.count}: {failure}')


class _Reporting(gymnasium.Env[Array, NDArray[Any]]):
    """
    An environment whose `info` is one `EnvironmentStep`, or the text of a failure.

    Gymnasium joins the infos of N environments into arrays that have the type of the first value
    (a cost of 0 makes the others whole numbers). An object keeps every value as it is.
    """

    def __init__(self, make: Callable[[], Env], main: int) -> None:
        if os.getpid() != main:
            die_with_parent()
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends this one
            # The main process has made the same environment and has printed the same warnings.
            gymnasium.logger.min_level = gymnasium.logger.ERROR
        self._env = make()
        space = self._env.observation_space
        assert isinstance(space, gymnasium.spaces.Box)
        self.action_space = self._env.action_space
        # Observations are kept in float64, whatever the space says that they are.
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, space.shape, np.float64)
        self._none = np.zeros(space.shape)

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode; a failure is in `info`."""
        try:
            observation, _ = self._env.reset(seed=seed)
            return self._of_shape(observation), {}
        except Exception as error:
            return self._none, {'failure': _text_of(error)}

    def step(self, action: NDArray[Any]) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Do a step, which is in `info`, or a failure."""
        try:
            step = step_environment(self._env, action)
            observation = self._of_shape(step.observation)
        except Exception as error:
            return self._none, 0.0, False, False, {'failure': _text_of(error)}
        return observation, step.reward, step.terminated, step.truncated, {
            'step': replace(step, observation=self._none[:0])}

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _of_shape(self, observation: Any) -> Array:
        made = np.array(observation, np.float64)
        if made.shape != self._none.shape:
            raise ValueError(f'observation has shape {made.shape}, expected {self._none.shape}')
        return made


def _text_of(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())}'


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let the processes that start within the context use one thread each."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, '1'))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
