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

"""Whatever robot file is accepted and whatever is wished: the arm stays within what it says."""

from pathlib import Path
import tempfile
from typing import Any

from any_robot import arms
from at_length import tries
from hypothesis import event
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest
import yaml

from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.safety.cartesian import Cartesian
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.joint_limits import JointLimits

TICKS = 200
ROUNDING = 1e-6

pytestmark = pytest.mark.timeout(300)


def loaded(model: str, content: dict[str, Any], folder: Path) -> Robot:
    (folder / 'arm.xml').write_text(model)
    (folder / 'arm.yaml').write_text(yaml.safe_dump({**content, 'model': 'arm.xml'}))
    return load_robot(str(folder / 'arm.yaml'))


class Arm:
    """Moves as commanded, `delay` periods late: what `control.delay` allows, and no worse."""

    def __init__(self, robot: Robot, position: np.ndarray, late: int) -> None:
        self.position, self.velocity = position, np.zeros_like(position)
        self._period = robot.period
        self._waiting = [self.velocity] * late

    def step(self, command: np.ndarray) -> np.ndarray:
        """Take a period; return the position in its middle."""
        self._waiting.append(command)
        self.velocity = self._waiting.pop(0)
        middle = self.position + 0.5 * self._period * self.velocity
        self.position = self.position + self._period * self.velocity
        return middle


def check(model: str, content: dict[str, Any], seed: int) -> None:
    """Drive one arm for TICKS; raises AssertionError where a limit of its file is exceeded."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            robot = loaded(model, content, Path(folder))
            tried = SafetyFilter(robot, repeated=3600.0)
            ruler = Cartesian(robot, JointLimits(robot))
        except ConfigError as error:
            event(f'refused: {str(error).split(": ")[1][:20]}')
            return
    rng = np.random.default_rng(seed)
    low, high = np.asarray(robot.limits.position).T
    margin = robot.limits.margin
    for _ in range(20):
        start = rng.uniform(low + margin, high - margin)
        if (low + margin < high - margin).all() and min(
                ruler.least(start).values(), default=1.0) > robot.clearance:
            break
    else:
        event('no admissible start')
        return
    event('driven')
    arm = Arm(robot, start, int(rng.integers(robot.control.delay + 1)))
    drive(robot, tried, ruler, arm, rng)


def drive(robot: Robot, tried: SafetyFilter, ruler: Cartesian, arm: Arm,
          rng: np.random.Generator) -> None:
    """Push for TICKS with wishes of all kinds, also such as no policy would have."""
    limits = robot.limits
    low, high = np.asarray(limits.position).T
    velocity, acceleration, jerk = (np.asarray(values) for values in (
        limits.velocity, limits.acceleration, limits.jerk))
    state = RobotState(0, arm.position, arm.velocity, np.zeros_like(low))
    tried.reset(state)
    last = before = np.zeros_like(low)
    wish = np.zeros_like(low)
    for tick in range(TICKS):
        if tick % 10 == 0:
            wish = rng.uniform(-1.9, 1.9, len(low)) * velocity * rng.choice([0.1, 1.0])
            towards = rng.random() < 0.4
        asked = wish
        if towards and ruler.least(arm.position):
            slope = ruler.slope(arm.position, int(rng.integers(2)))
            asked = -1.9 * velocity * slope / max(float(np.abs(slope).max()), 1e-9)
        if rng.random() < 0.01:
            asked = np.full_like(low, rng.choice([np.nan, np.inf, 1e300]))
        command = tried.apply(asked, state).command
        change = (command - last) / robot.period
        assert np.isfinite(command).all()
        assert (np.abs(command) <= velocity + ROUNDING).all(), 'velocity'
        assert (np.abs(change) <= acceleration * (1 + ROUNDING) + ROUNDING).all(), 'acceleration'
        assert (np.abs(change - before) * robot.period
                <= jerk * robot.period ** 2 * (1 + ROUNDING) + ROUNDING).all(), 'jerk'
        last, before = command, change
        for place in (arm.step(command), arm.position):
            assert (place >= low - ROUNDING).all() and (place <= high + ROUNDING).all(), 'position'
            for name, gap in ruler.least(place).items():
                assert gap >= -ROUNDING, f'{name} {gap} at tick {tick}'
        state = RobotState(tick + 1, arm.position, arm.velocity, np.zeros_like(low))


@settings(max_examples=120, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(arms(), st.integers(0, 2**32 - 1))
def test_no_accepted_file_lets_a_wish_past_what_it_says(made: tuple[str, dict[str, Any]],
                                                        seed: int) -> None:
    check(*made, seed)


@pytest.mark.long
@pytest.mark.timeout(6 * 3600)
@tries(120, wanted=20_000)
@given(arms(), st.integers(0, 2**32 - 1))
def test_no_accepted_file_lets_a_wish_past_what_it_says_20000(made: tuple[str, dict[str, Any]],
                                                              seed: int) -> None:
    check(*made, seed)
