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

"""Whether the machine stood still: what the watchers see, and what the soak makes of it."""

import os
import signal
import time

from benchmarks.machine_stalls import MachineStalls
from benchmarks.machine_stalls import Stall
from benchmarks.soak import stalls_of


def test_a_core_that_wakes_nothing_for_a_while_is_seen_with_its_length_and_time() -> None:
    core = min(os.sched_getaffinity(0))
    with MachineStalls([core]) as machine:
        time.sleep(0.2)
        os.kill(machine.pid(core), signal.SIGSTOP)
        begin = time.time()
        time.sleep(0.1)
        os.kill(machine.pid(core), signal.SIGCONT)
        went_on = time.time()
        time.sleep(0.2)
    stall = max(machine.stalls, key=lambda each: each.seconds)
    assert stall.core == core
    assert stall.seconds >= 0.09
    assert begin < stall.end and stall.end - stall.seconds < went_on


def _machine(*stalls: Stall, urgent: bool = True) -> MachineStalls:
    machine = MachineStalls([])
    machine.stalls, machine.urgent = list(stalls), urgent
    return machine


LATE_STAMPS = [0, 20_000_000, 60_000_000, 80_000_000]
"""ns, at 50 Hz; the third 20 ms late."""


def test_a_late_state_while_the_machine_stood_still_is_named_so() -> None:
    found = stalls_of(_machine(Stall(0, 0.055, 0.02)), LATE_STAMPS, 0.02)
    assert found == {'stalls': 1, 'stall_max_ms': 20.0, 'sim_late_in_stall': 1}


def test_a_late_state_is_not_blamed_on_a_stall_at_another_time() -> None:
    found = stalls_of(_machine(Stall(0, 0.079, 0.015)), LATE_STAMPS, 0.02)
    assert found['stalls'] == 1 and found['sim_late_in_stall'] == 0


def test_a_late_state_is_not_blamed_on_a_short_stall() -> None:
    found = stalls_of(_machine(Stall(0, 0.055, 0.009)), LATE_STAMPS, 0.02)
    assert found['stalls'] == 0 and found['sim_late_in_stall'] == 0
    assert found['stall_max_ms'] == 9.0


def test_without_the_priority_nothing_is_blamed_on_the_machine() -> None:
    found = stalls_of(_machine(Stall(0, 0.055, 0.02), urgent=False), LATE_STAMPS, 0.02)
    assert set(found.values()) == {None}
