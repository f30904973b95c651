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

"""Tasks of bullet-safety-gym, which run in a process with a separate Python environment."""

from dataclasses import dataclass
import json
from pathlib import Path
import subprocess
import tempfile
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SERVER = Path(__file__).resolve().parent / 'peers' / 'bullet_server.py'


class SafeTaskError(RuntimeError):
    """Raised if the process of a task cannot be started, has ended or reports an error."""


@dataclass(frozen=True)
class SafeTask:
    """A task with the constants of its version in DSRL (docs/concepts/marvel.md, sourced)."""

    env_id: str
    steps: int
    """Steps per episode, T (time limit)."""
    least: float
    greatest: float
    """`least` and `greatest`: return of the worst and the best episode of the data set."""
    limit: float = 20.0
    """Limit of the cost per episode."""

    def score(self, ret: float) -> float:
        """Return the normalised return 100 (R - least) / (greatest - least)."""
        return 100.0 * (ret - self.least) / (self.greatest - self.least)


SAFE_TASKS = {
    'BallCircle': SafeTask('SafetyBallCircle-v0', 200, 0.383, 881.46),
    'CarRun': SafeTask('SafetyCarRun-v0', 200, 204.29, 574.65),
}


class SafeTaskEnv(gymnasium.Env[Array, Array]):
    """
    Client of `benchmarks/peers/bullet_server.py`; `info['cost']` is 0 or 1 per step.

    bullet-safety-gym needs an old gymnasium and pybullet, so it runs in another interpreter.
    Messages are lines of JSON through a pipe, in which floats keep all digits.

    :param python: interpreter of an environment with bullet-safety-gym
    """

    metadata = {'render_modes': []}

    def __init__(self, task: str, python: Path) -> None:
        """Start the process; raises ValueError for an unknown task, SafeTaskError."""
        if task not in SAFE_TASKS:
            raise ValueError(f'task {task!r}: none of {sorted(SAFE_TASKS)}')
        self.safe_task = SAFE_TASKS[task]
        self._words = tempfile.TemporaryFile()
        command = [str(python), str(SERVER), self.safe_task.env_id, str(self.safe_task.steps)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True,
                                             stdout=subprocess.PIPE, stderr=self._words)
        except OSError as error:
            raise SafeTaskError(f'{python}: {error.strerror}') from None
        spaces = self._read()
        self.action_space = gymnasium.spaces.Box(np.asarray(spaces['low']),
                                                 np.asarray(spaces['high']), dtype=np.float64)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (spaces['observation'],),
                                                      np.float64)

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode; without a seed, draw one from the generator of the environment."""
        super().reset(seed=seed)
        answer = self._ask({'reset': int(self.np_random.integers(2 ** 31))})
        return np.asarray(answer['observation']), {'cost': 0.0}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Advance one step; raises ValueError if the action has a wrong shape or is not finite."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(f'action {action}: expected {self.action_space.shape} finite values')
        answer = self._ask({'step': action.tolist()})
        return (np.asarray(answer['observation']), answer['reward'], answer['terminated'],
                answer['truncated'], {'cost': answer['cost']})

    def close(self) -> None:
        """Close the input of the process, which ends it."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended already
            self._process.wait(timeout=10.0)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._words.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + '\n')
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._ended() from None
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if 'error' in answer:
            raise SafeTaskError(f'{self.safe_task.env_id}: {answer["error"]}')
        return answer

    def _ended(self) -> SafeTaskError:
        if self._words.closed:
            return SafeTaskError(f'{self.safe_task.env_id}: closed')
        self._process.wait(timeout=10.0)
        self._words.seek(0)
        words = self._words.read().decode(errors='replace').strip().splitlines()[-1:]
        return SafeTaskError(f'{self.safe_task.env_id}: its process ended with '
                             f'{self._process.returncode}: {" ".join(words)}')
