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

"""
Long runs of property tests (`./run test long`), with a number of examples and a time budget.

The log shows both. SPAARS_SEED is the first seed, SPAARS_SECONDS the time budget per test.
"""

from collections.abc import Callable
import inspect
import os
import resource
import sys
import time
from typing import Any

from hypothesis import HealthCheck
from hypothesis import seed as with_seed
from hypothesis import settings

LONG = bool(os.environ.get('SPAARS_LONG'))
SEED = int(os.environ.get('SPAARS_SEED', 0))
SECONDS = float(os.environ.get('SPAARS_SECONDS', 900.0))
"""s per test, and per parser and subscription that a test counts separately."""
WANTED = 100_000
"""Examples per test."""
TOGETHER = 500
"""Examples between two checks of the time."""
SLOWEST = 1.0
"""s, maximum processor time per input."""
CALLS: list[float] = []
"""s, processor time of each call that the present example made.

For a test whose example is many inputs, one after the other; empty if the example is one input.
"""
GROWTH = 500
"""MB, maximum growth of memory over all inputs."""
QUIET: dict[str, Any] = {'deadline': None, 'database': None,
                         'suppress_health_check': list(HealthCheck)}


def memory() -> int:
    """Return the peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Clock:
    """Time budget of a test, with a log of the work done."""

    def __init__(self, name: str, wanted: int = WANTED) -> None:
        self.name, self.wanted = name, wanted
        self.done, self.slowest = 0, 0.0
        self._began, self._memory = time.monotonic(), memory()

    @property
    def goes_on(self) -> bool:
        """Return whether more examples are wanted and time is left."""
        return self.done < self.wanted and time.monotonic() - self._began < SECONDS

    def finish(self, more: str = '') -> None:
        """Log the work done; fail if an input took too long, or memory grew too much."""
        took, grown = time.monotonic() - self._began, memory() - self._memory
        spent = '' if self.done >= self.wanted else f' (budget of {SECONDS:g} s spent)'
        sys.stdout.write(f'\n{self.name}: seed {SEED}, {self.done} of {self.wanted} in '
                         f'{took:.0f} s{spent}, slowest {self.slowest:.3f} s, '
                         f'{grown} MB more{more}\n')
        sys.stdout.flush()
        assert self.slowest < SLOWEST, self.name
        assert grown < GROWTH, self.name


def at_length(test: Any, wanted: int = WANTED) -> Callable[..., None]:
    """Return a hypothesis test that continues with new seeds until `wanted` or out of time."""
    name = test.__name__
    inner = test.hypothesis.inner_test
    clock = Clock(name, wanted)

    def timed(*arguments: Any, **values: Any) -> None:
        CALLS.clear()
        began = time.process_time()
        inner(*arguments, **values)
        whole = time.process_time() - began
        took = max(CALLS, default=whole)
        if max(took, 0.2 * whole) > SLOWEST:
            sys.stdout.write(f'\n{name}: {took:.3f} s per call, {whole:.3f} s in all: '
                             f'{arguments} {values}\n')
        clock.slowest = max(clock.slowest, took)
        clock.done += 1
    test.hypothesis.inner_test = timed
    test = settings(max_examples=TOGETHER, derandomize=False, **QUIET)(test)

    def run(**fixtures: Any) -> None:
        clock.__init__(name, wanted)  # type: ignore[misc]
        number = 0
        while clock.goes_on:
            before = clock.done
            try:
                with_seed(SEED + number)(test)(**fixtures)
            except BaseException:
                sys.stdout.write(f'\n{name}: failed after {before} with seed {SEED + number}\n')
                raise
            number += 1
            if clock.done - before < TOGETHER // 10:
                clock.wanted = clock.done  # there are no more examples
        clock.finish()
    run.__name__, run.__doc__, run.__module__ = name, test.__doc__, test.__module__
    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    run.pytestmark = list(getattr(test, 'pytestmark', ()))  # type: ignore[attr-defined]
    return run


def tries(count: int, wanted: int = WANTED) -> Callable[[Any], Any]:
    """Decorate a hypothesis test: `count` fixed examples, or a long run if LONG."""
    def decorate(test: Any) -> Any:
        if LONG:
            return at_length(test, wanted)
        return settings(max_examples=count, derandomize=True, **QUIET)(test)
    return decorate
