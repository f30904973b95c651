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

"""How late the arm follows its commands: found from commands and measured velocities alone."""

from typing import Any

import numpy as np
import pytest

from spaars_ros.robot.config import load_robot
from spaars_ros.safety.monitors.following import Following
from spaars_ros.safety.monitors.following import LONGEST
from spaars_ros.safety.monitors.following import WINDOW
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.controller import HoldingController

ROBOT = load_robot()
T = ROBOT.period
LIMITS = np.asarray(ROBOT.limits.velocity)


class Driven:
    """An arm in MuJoCo behind a controller, under commands that change like a policy's."""

    def __init__(self, *, speed: float = 0.1, delay: float = 0.0, lag: float = 0.0,
                 allowed: int = 1, **disturbance: float) -> None:
        self.following = Following(ROBOT.model_copy(update={
            'control': ROBOT.control.model_copy(update={'delay': allowed})}))
        self.arm = Arm(ROBOT)
        self.arm.disturb(**disturbance)
        self.controller = HoldingController(np.asarray(ROBOT.limits.acceleration), T)
        self.controller.delay, self.controller.lag = delay * T, lag * T
        self._rng, self._speed, self._tick = np.random.default_rng(0), speed, 0
        self._command = np.zeros(7)

    def run(self, ticks: int) -> Any:
        """Let the arm follow; return what is judged then, for the second time."""
        for _ in range(ticks):
            now, state = self._tick * T, self.arm.state()
            self.following.measured(now, state.velocity)
            wish = self._rng.normal(size=7) * self._speed * LIMITS
            # Towards home, so that no joint comes to its end in a long run.
            home = 0.3 * (np.asarray(ROBOT.home) - state.position)
            self._command = 0.8 * self._command + 0.2 * (wish + home)
            self.following.commanded(now, self._command)
            self.controller.take(self._command, round(1e9 * now))
            self.arm.step(self.controller.velocity(round(1e9 * now)))
            self._tick += 1
        self.following.judge()
        return self.following.judge()


def test_an_arm_that_follows_in_time_is_no_news() -> None:
    driven = Driven()
    assert driven.run(WINDOW) is None, 'too little to say'
    for _ in range(5):
        found = driven.run(WINDOW)
        assert (found.least, found.most, found.warning) == (0.0, 1.0, '') and found.error < 0.1


@pytest.mark.parametrize('periods', [2, 3, 7])
def test_a_late_controller_is_named_with_the_delay_that_it_has(periods: int) -> None:
    found = Driven(delay=periods).run(2 * (WINDOW + LONGEST))
    assert (found.least, found.most) == (periods, periods + 1)
    assert f'late, {periods} to {periods + 1} control periods' in found.warning
    assert 'control.delay says 1' in found.warning


def test_a_controller_later_than_is_looked_for_is_said_to_be_at_least_so_late() -> None:
    found = Driven(delay=LONGEST).run(3 * (WINDOW + LONGEST))
    assert found.least == LONGEST and 'or more' in found.warning


def test_what_control_delay_covers_is_no_news() -> None:
    covered = Driven(delay=7, allowed=7).run(3 * (WINDOW + LONGEST))
    assert (covered.least, covered.most, covered.warning) == (7.0, 8.0, '')


def test_at_a_constant_speed_no_lateness_is_named() -> None:
    """Every command is the same: any of them may be the one that moves the arm."""
    following = Following(ROBOT)
    rng = np.random.default_rng(0)
    for tick in range(3 * WINDOW):
        following.measured(tick * T, 0.2 * LIMITS + rng.normal(size=7) * 0.002)
        following.commanded(tick * T, 0.2 * LIMITS)
    found = following.judge()
    assert found is not None and np.isnan(found.most) and not found.warning


@pytest.mark.parametrize('late', [0.3, 1.6, 4.4])
def test_states_that_drift_against_the_commands_tell_the_lateness_exactly(late: float) -> None:
    following, rng = Following(ROBOT), np.random.default_rng(1)
    commands = np.cumsum(rng.normal(size=(400, 7)), axis=0) * 0.01 * LIMITS
    state = 0.0
    for tick in range(400):
        while state < tick * T:
            stood = int(np.floor(state / T - late + 1e-9))
            if stood >= 0:
                following.measured(state, commands[stood])
            state += 1.013 * T
        following.commanded(tick * T, commands[tick])
    following.judge()
    found = following.judge()
    assert found is not None and found.least - 0.25 <= late <= found.most + 0.25
    assert found.most - found.least <= 0.5 and bool(found.warning) == (late > 1.0)


def test_a_warning_comes_the_second_time_only() -> None:
    driven = Driven(delay=3)
    driven.run(2 * (WINDOW + LONGEST))
    driven.following._doubt = ''
    assert not driven.following.judge().warning and driven.following.judge().warning


def test_states_that_come_far_apart_are_judged_too() -> None:
    following, rng = Following(ROBOT), np.random.default_rng(1)
    commands = np.cumsum(rng.normal(size=(800, 7)), axis=0) * 0.01 * LIMITS
    for tick in range(800):
        if tick % 8 == 0 and tick > 4:
            following.measured(tick * T, commands[tick - 4])
        following.commanded(tick * T, commands[tick])
    found = following.judge()
    assert found is not None and (found.least, found.most) == (3.0, 4.0)


def test_a_lagging_controller_is_named() -> None:
    found = Driven(lag=6.0).run(2 * (WINDOW + LONGEST))
    assert found.warning


def test_friction_that_the_controller_does_not_make_up_for_is_named() -> None:
    found = Driven(speed=0.05, friction=5.0).run(2 * (WINDOW + LONGEST))
    assert found.error > 0.5 and 'otherwise than commanded' in found.warning


def test_an_arm_that_hardly_moves_says_nothing() -> None:
    assert Driven(speed=1e-4, delay=7).run(3 * WINDOW) is None


def test_what_moved_the_arm_besides_the_commands_is_left_out() -> None:
    """A reset service swings it back, at a speed that no command asked for."""
    driven = Driven()
    driven.run(2 * WINDOW)
    before = driven.following.judge()
    end = driven._tick * T
    driven.following.commanded(end, None)
    for tick in range(1, 20):
        driven.following.measured(end + tick * T, 0.5 * LIMITS)
    driven._tick += 20
    after = driven.run(LONGEST)
    assert after.error == pytest.approx(before.error), 'the same states as before'
    assert driven.run(2 * WINDOW).warning == ''


def test_a_clock_that_is_set_back_begins_anew() -> None:
    driven = Driven()
    assert driven.run(2 * WINDOW) is not None
    driven._tick = 0
    assert driven.run(WINDOW) is None
    assert driven.run(WINDOW).most == 1.0
