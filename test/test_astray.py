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

"""An arm that does not do what it is told stops before its limits, not once it is understood."""

from typing import Any

import numpy as np
import pytest

from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import load_robot
from spaars_ros.safety.cartesian import Cartesian
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.joint_limits import JointLimits
from spaars_ros.safety.monitors.astray import Astray
from spaars_ros.safety.monitors.wiring import WiringWatch
from spaars_ros.safety.stop import Stop
from spaars_ros.sim.driven_arm import DrivenArm
from spaars_ros.sim.fault_table import DEFAULTS

pytestmark = pytest.mark.timeout(120)

ROBOT = load_robot()
T = ROBOT.period
LOW, HIGH = np.asarray(ROBOT.limits.position).T
RULER = Cartesian(ROBOT, JointLimits(ROBOT))


def driven(seed: int, seconds: float = 6.0, begin: float = 1.5, **faults: float
           ) -> tuple[float, Stop | None]:
    """Wish at random through the filter, with a fault from `begin` s on; return the least room."""
    arm, tried, rng = DrivenArm(ROBOT), SafetyFilter(ROBOT, repeated=3600.0), \
        np.random.default_rng(seed)
    astray, wiring = Astray(ROBOT), WiringWatch(ROBOT)
    tried.reset(arm.state())
    room, stop, wish = np.inf, None, np.zeros(7)
    for tick in range(round(seconds / T)):
        arm.set({**DEFAULTS, **(faults if tick * T >= begin else {})})
        state = arm.state()
        wiring.measured(tick * T, state.position)
        if tick % 15 == 0:
            wish = rng.uniform(-1.0, 1.0, 7) * ROBOT.control.action_scale * np.asarray(
                ROBOT.limits.velocity)
        stop = stop or astray.measured(state)
        command = tried.brake().command if stop else tried.apply(wish, state).command
        # As the server does: what the other watch has seen counts for the next command.
        stop = stop or (wiring.judge() if tick % 2 else None)
        wiring.commanded(tick * T, command)
        astray.commanded(command)
        arm.obey(command)
        arm.move()
        place = arm.state().position
        room = min(room, np.minimum(place - LOW, HIGH - place).min(),
                   min(RULER.least(place).values()))
    return float(room), stop


@pytest.mark.parametrize('faults', [
    {'flip': 1}, {'flip': 2}, {'flip': 4}, {'swap': 1, 'swap_with': 4},
    {'swap': 2, 'swap_with': 4},
    {'scale': 2.0, 'scale_joint': 2}], ids=str)
def test_wrong_wires_do_not_lead_past_a_limit_before_they_are_known(faults: dict[str, Any]
                                                                     ) -> None:
    """The accident: a joint that goes backwards, 28 mm into a zone 1.3 s before it was named."""
    stops = []
    for seed in range(6):
        room, stop = driven(seed, **faults)
        assert room > 0.0
        stops += [] if stop is None else [stop.code]
    assert set(stops) <= {'ASTRAY', 'WRONG_WIRING', 'WRONG_SCALE'} and len(stops) >= 4


def test_an_arm_that_does_as_it_is_told_is_not_astray_at_its_limits() -> None:
    for seed in range(4):
        room, stop = driven(seed, seconds=10.0)
        assert stop is None and room > 0.0


def at(velocity: float, place: float, asked: float = 0.0) -> Stop | None:
    """Return what is said of joint 1 at a place and speed, of the others at home."""
    watch, position, speed = Astray(ROBOT), np.asarray(ROBOT.home, dtype=float), np.zeros(7)
    position[0], speed[0] = place, velocity
    for _ in range(10):
        watch.commanded(np.array([asked, *[0.0] * 6]))
    return watch.measured(RobotState(0, position, speed, np.zeros(7)))


def test_what_runs_towards_a_limit_is_told_from_what_leaves_it_or_is_far_away() -> None:
    end = float(HIGH[0])
    stop = at(0.5, end - 0.05)
    assert stop is not None and stop.code == 'ASTRAY' and ROBOT.joints[0] in stop.text
    assert 'past its position limit' in stop.text
    assert at(-0.5, end - 0.05) is None, 'it leaves the limit'
    assert at(0.5, end - 0.5) is None, 'it can still stop'
    assert at(0.5, end - 0.05, asked=0.5) is None, "it does as it is told: that is the filter's"
