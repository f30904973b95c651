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

"""A wrongly connected robot, as the simulation makes it: each fault does what its name says."""

from typing import Any

import numpy as np
import pytest

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import load_robot
from spaars_ros.sim.driven_arm import DrivenArm
from spaars_ros.sim.fault_table import DEFAULTS
from spaars_ros.sim.faults import FaultInjector

pytestmark = pytest.mark.timeout(60)

COMMAND = np.array([0.0, 0.1, 0.0, 0.2, 0.0, 0.0, 0.0])


def moved(command: Array = COMMAND, timeout: float = 0.0, **faults: float) -> Array:
    """Return how fast the joints of a Panda moved, rad/s, half a second after one command."""
    robot = load_robot()
    arm = DrivenArm(robot)
    arm.set({**DEFAULTS, **faults}, timeout=timeout)
    arm.obey(command)
    for _ in range(10):
        arm.move()
    return arm.state().velocity


@pytest.mark.parametrize(('faults', 'wanted'), [
    ({}, COMMAND),
    ({'swap': 2, 'swap_with': 4}, [0.0, 0.2, 0.0, 0.1, 0.0, 0.0, 0.0]),
    ({'swap': 2, 'swap_with': 3}, [0.0, 0.0, 0.1, 0.2, 0.0, 0.0, 0.0]),
    ({'flip': 4}, [0.0, 0.1, 0.0, -0.2, 0.0, 0.0, 0.0]),
    ({'scale': 0.5}, 0.5 * COMMAND),
    ({'scale': 2.0, 'scale_joint': 2}, [0.0, 0.2, 0.0, 0.2, 0.0, 0.0, 0.0]),
    ({'command_drop': 1.0}, np.zeros(7)),
    ({'push': 0.3}, [0.3, 0.1, 0.0, 0.2, 0.0, 0.0, 0.0]),
    ({'push': -0.3, 'push_joint': 7}, [0.0, 0.1, 0.0, 0.2, 0.0, 0.0, -0.3]),
    ({'swap': 2, 'swap_with': 9}, COMMAND)])
def test_the_arm_moves_as_the_fault_says(faults: dict[str, float], wanted: Any) -> None:
    np.testing.assert_allclose(moved(**faults), wanted, atol=0.01)


def test_a_controller_that_hears_no_more_commands_rests_after_its_timeout() -> None:
    np.testing.assert_allclose(moved(timeout=0.2), np.zeros(7), atol=0.01)


def reported(**faults: float) -> RobotState:
    """Return what is published of a moving arm."""
    injector = FaultInjector(seed=0, joints=3, period=0.05)
    injector.set(faults)
    (seen,) = injector.measured(RobotState(10**9, np.ones(3), np.full(3, 2.0), np.full(3, 3.0)))
    return seen


@pytest.mark.parametrize(('fault', 'field', 'wanted'), [
    ('velocity_zero', 'velocity', np.zeros(3)), ('velocity_empty', 'velocity', np.zeros(0)),
    ('velocity_nan', 'velocity', np.full(3, np.nan)), ('effort_empty', 'effort', np.zeros(0)),
    ('effort_nan', 'effort', np.full(3, np.nan))])
def test_what_a_robot_does_not_measure_is_missing_alone(fault: str, field: str,
                                                         wanted: Array) -> None:
    seen, whole = reported(**{fault: 1.0}), reported()
    for name in ('position', 'velocity', 'effort'):
        np.testing.assert_array_equal(getattr(seen, name),
                                      wanted if name == field else getattr(whole, name))
