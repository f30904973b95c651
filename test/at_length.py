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
What `./run test long` tries: as much as is wanted, or as a time budget allows; both in the log.

SPAARS_SEED is the first seed of everything, SPAARS_SECONDS the budget of each test.
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
"""s of each test, and of each parser and subscription that a test counts apart."""
WANTED = 100_000
"""Tries of each."""
TOGETHER = 500
"""Examples between two looks at the time."""
SLOWEST = 1.0
"""s of processor time that one input may take."""
GROWTH = 500
"""MB of memory that all inputs together may take."""
QUIET: dict[str, Any] = {'deadline': None, 'database': None,
                         'suppress_health_check': list(HealthCheck)}


def memory() -> int:
    """Return the most memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Clock:
    """Says when a test's budget is spent, and writes what was done into the log."""

    def __init__(self, name: str, wanted: int = WANTED) -> None:
        self.name, self.wanted = name, wanted
        self.done, self.slowest = 0, 0.0
        self._began, self._memory = time.monotonic(), memory()

    @property
    def goes_on(self) -> bool:
        """Return whether more is wanted, and there is time."""
        return self.done < self.wanted and time.monotonic() - self._began < SECONDS

    def finish(self, more: str = '') -> None:
        """Log what was done; fails where an input took too long, or too much memory."""
        took, grown = time.monotonic() - self._began, memory() - self._memory
        spent = '' if self.done >= self.wanted else f' (budget of {SECONDS:g} s spent)'
        sys.stdout.write(f'\n{self.name}: seed {SEED}, {self.done} of {self.wanted} in '
                         f'{took:.0f} s{spent}, slowest {self.slowest:.3f} s, '
                         f'{grown} MB more{more}\n')
        sys.stdout.flush()
        assert self.slowest < SLOWEST, self.name
        assert grown < GROWTH, self.name


def at_length(test: Any, wanted: int = WANTED) -> Callable[..., None]:
    """Return a hypothesis test that goes on with other seeds until all is done or time is up."""
    name = test.__name__
    inner = test.hypothesis.inner_test
    clock = Clock(name, wanted)

    def timed(*arguments: Any, **values: Any) -> None:
        began = time.process_time()
        inner(*arguments, **values)
        clock.slowest = max(clock.slowest, time.process_time() - began)
        clock.done += 1
    test.hypothesis.inner_test = timed
    test = settings(max_examples=TOGETHER, derandomize=False, **QUIET)(test)

    def run(**fixtures: Any) -> None:
        clock.__init__(name, wanted)  # type: ignore[misc]
        number = 0
        while clock.goes_on:
            before = clock.done
            with_seed(SEED + number)(test)(**fixtures)
            number += 1
            if clock.done - before < TOGETHER // 10:
                clock.wanted = clock.done  # there are no more
        clock.finish()
    run.__name__, run.__doc__, run.__module__ = name, test.__doc__, test.__module__
    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    run.pytestmark = list(getattr(test, 'pytestmark', ()))  # type: ignore[attr-defined]
    return run


def tries(count: int, wanted: int = WANTED) -> Callable[[Any], Any]:
    """Decorate a hypothesis test: `count` examples, always the same; at length under LONG."""
    def decorate(test: Any) -> Any:
        if LONG:
            return at_length(test, wanted)
        return settings(max_examples=count, derandomize=True, **QUIET)(test)
    return decorate
