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
"""Parallel runs in processes of this machine or on a Ray cluster (extra `cluster`)."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import as_completed
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
import multiprocessing
import os
from pathlib import Path
import re
import socket
import sys
from typing import Any
from typing import TypeVar

from spaars_ros.interrupts import die_with_parent

Job = TypeVar('Job')
Result = TypeVar('Result')

LOCAL = 'local'
RETRIES = 5
"""Maximum number of retries, from its checkpoint, of a run whose worker was killed."""
CONNECT = 5.0
"""s for a cluster to accept a connection."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Workers:
    """
    Executor of parallel runs, local or on a cluster.

    Paths are the same with and without a cluster: its machines need the same package, and must see
    the working directory and all files that are read or written under the same paths.
    """

    jobs: int = 2
    """Number of parallel runs on this machine."""
    ray: str = ''
    """Address of a Ray cluster; `local`: start one here with `jobs` CPUs; '': none."""
    cpus: float = 1.0
    """CPUs of the cluster per run."""
    gpus: float = 0.0

    def each(self, function: Callable[[Job], Result], jobs: Sequence[Job]
             ) -> Iterator[tuple[Job, Result | Exception]]:
        """
        Yield every job with its result, or with the exception that it raised, as they finish.

        :param function: function of a module, so that a worker can import it; called again after
            its process was killed, it has to continue from its own checkpoint
        :raises ValueError: Ray is requested and not installed, or its cluster does not answer
        """
        return self._with_ray(function, jobs) if self.ray else self._here(function, jobs)

    def _here(self, function: Callable[[Job], Result], jobs: Sequence[Job]
              ) -> Iterator[tuple[Job, Result | Exception]]:
        # max_tasks_per_child would save memory but needs Python 3.11.
        with ProcessPoolExecutor(self.jobs, mp_context=multiprocessing.get_context('spawn'),
                                 initializer=die_with_parent) as pool:
            futures = {pool.submit(function, job): job for job in jobs}
            for future in as_completed(futures):
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield futures[future], future.result() if error is None else error

    def _with_ray(self, function: Callable[[Job], Result], jobs: Sequence[Job]
                  ) -> Iterator[tuple[Job, Result | Exception]]:
        ray = _ray()
        _reach(self.ray)
        here = os.getcwd()
        # Make the checkout and a user's own packages importable there as here.
        path = os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, sys.path)]))
        variables = {'PYTHONPATH': path, 'OMP_NUM_THREADS': str(max(1, int(self.cpus)))}
        # Silences a FutureWarning that Ray prints on every start.
        os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')
        try:
            ray.init(address=None if self.ray == LOCAL else self.ray,
                     num_cpus=self.jobs if self.ray == LOCAL else None, include_dashboard=False,
                     logging_level='ERROR', log_to_driver=False,
                     runtime_env={'env_vars': variables})
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ValueError(f'--ray {self.ray}: {" ".join(str(error).split())[:300]}') from None
        try:
            task = ray.remote(max_retries=RETRIES, num_cpus=self.cpus, num_gpus=self.gpus)(_there)
            waiting = {task.remote(here, function, job): job for job in jobs}
            while waiting:
                for done in ray.wait(list(waiting), num_returns=1)[0]:
                    job = waiting.pop(done)
                    try:
                        yield job, ray.get(done)
                    except ray.exceptions.RayTaskError as error:
                        yield job, error.cause if isinstance(
                            error.cause, Exception) else RuntimeError(str(error))
                    except ray.exceptions.RayError as error:
                        yield job, RuntimeError(f'its worker was lost {RETRIES + 1} times: '
                                                f'{str(error).splitlines()[0]}')
        finally:
            ray.shutdown()


def _there(folder: str, function: Callable[[Job], Result], job: Job) -> Result:
    """Call a function in the working directory of the process that submitted it."""
    os.chdir(folder)
    return function(job)


def _reach(address: str) -> None:
    """Raise ValueError when nothing listens at an address; Ray itself would wait for minutes."""
    found = re.fullmatch(r'(?:ray://)?([^:/]+):(\d+)', address)
    if found:
        try:
            socket.create_connection((found[1], int(found[2])), timeout=CONNECT).close()
        except OSError as error:
            raise ValueError(f'--ray {address}: {error.strerror or error}; is `ray start --head` '
                             'running there?') from None


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ValueError("--ray needs Ray, which is not installed: python -m pip install "
                         "'spaars_ros[cluster]'") from None
    return ray
