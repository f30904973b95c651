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

"""A policy server on a robot that is wired wrongly, half measured, or moved by a hand."""

from collections.abc import Callable

import numpy as np
import pytest
from server_rig import Rig

pytestmark = pytest.mark.timeout(120)

pytest_plugins = ['server_rig']


def push(rig: Rig, speed: float) -> None:
    """Add to the first joint's velocity from now on."""
    step = type(rig.arm).step
    rig.arm.step = lambda velocity: step(  # type: ignore[method-assign]
        rig.arm, velocity + np.eye(7)[0] * speed)


def test_steps_in_which_a_hand_moves_the_arm_are_marked_and_the_run_pauses(
        start: Callable[..., Rig]) -> None:
    rig = start(external_motion='pause')
    assert not any(step['external_motion'][0] for step in rig.steps)
    push(rig, 0.8)
    rig.spin_until(lambda: rig.statuses[-1]['phase'] == 'PAUSED')
    rig.spin_until(lambda: any(step['external_motion'][0] for step in rig.steps))
    rig.spin_for(0.3)
    ended = len(rig.steps)
    rig.spin_for(1.5)
    assert rig.statuses[-1]['phase'] == 'PAUSED' and len(rig.steps) == ended and rig.standing
    push(rig, 0.0)
    rig.spin_until(lambda: len(rig.steps) > ended + 5, 30.0)
    assert rig.code == ''


def test_swapped_joints_stop_the_running_server_and_are_named(start: Callable[..., Rig]) -> None:
    rig = start()
    step = type(rig.arm).step
    order = [0, 1, 3, 2, 4, 5, 6]
    rig.arm.step = lambda velocity: step(rig.arm, velocity[order])  # type: ignore[method-assign]
    rig.spin_until(lambda: rig.code == 'WRONG_WIRING', 15.0)
    assert 'panda_joint3 moves panda_joint4' in rig.statuses[-1]['text'] \
        or 'panda_joint4 moves panda_joint3' in rig.statuses[-1]['text']
    rig.spin_until(lambda: rig.standing)
