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

"""The wiring check, against simulated arms whose wiring is wrong."""

from collections.abc import Callable
from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest

from spaars_ros.commissioning.home import HomeMotion
from spaars_ros.commissioning.ready import misplaced
from spaars_ros.commissioning.ready import NotReady
from spaars_ros.commissioning.wiring import WiringCheck
from spaars_ros.data.schema import Array
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Sphere
from spaars_ros.run.check_record import CheckMissing
from spaars_ros.run.check_record import record_path
from spaars_ros.run.check_record import require_passed
from spaars_ros.run.check_record import save_record
from spaars_ros.sim.arm import Arm

DANGEROUS = 0.15
"""rad that no joint of a wrongly wired arm may move by."""
TIMEOUT = 0.2

pytestmark = pytest.mark.timeout(120)


def check(name: str, *, wiring: Callable[[Array], Array] = lambda command: command,
          timeout: float = TIMEOUT, delay: int = 0,
          seen: Callable[[Array, Array], tuple[Array, Array]] = lambda *state: state,
          start: Array | None = None) -> tuple[WiringCheck, float]:
    """Return a finished check, and how far any joint moved, rad."""
    robot = load_robot(name)
    try:
        arm = Arm(robot)
    except ConfigError as error:
        pytest.skip(f'{error}: pip install --no-deps it')
    if start is not None:
        arm.reset(start)
    made = WiringCheck(robot)
    began, furthest = arm.state().position, 0.0
    velocity = np.zeros(len(robot.joints))
    sent: list[Array | None] = [velocity] * delay
    silent = 0.0
    for number in range(4000):
        state = arm.state()
        sent.append(made.tick(*seen(state.position, state.velocity), number * robot.period))
        if made.done:
            return made, furthest
        command = sent[-1 - delay]
        silent = 0.0 if command is not None else silent + robot.period
        if command is not None:
            velocity = wiring(command)
        elif timeout and silent > timeout:
            velocity = 0.0 * velocity
        arm.step(velocity)
        furthest = max(furthest, float(np.abs(arm.state().position - began).max()))
    raise AssertionError('the check does not end')


def swapped(one: int, other: int) -> Callable[[Array], Array]:
    """Return a wiring in which two joints obey each other's commands."""
    def wire(command: Array) -> Array:
        command = command.copy()
        command[[one, other]] = command[[other, one]]
        return command
    return wire


def scaled(joint: int, factor: float) -> Callable[[Array], Array]:
    """Return a wiring in which one joint obeys its command times a factor."""
    return lambda command: np.where(np.arange(len(command)) == joint, factor * command, command)


@pytest.mark.parametrize('name', ['panda', 'panda_gym_hil', 'ur5e', 'so101'])
def test_an_arm_that_is_wired_right_passes_and_comes_back(name: str) -> None:
    made, _ = check(name)
    assert made.passed, (made.faults, made.results)
    assert made.timeout == pytest.approx(TIMEOUT, abs=0.1)
    assert all(each.scale == pytest.approx(1.0, abs=0.05) for each in made.results)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    'order': ({'wiring': swapped(1, 3)}, 'another order'),
    'sign': ({'wiring': scaled(2, -1.0)}, 'its sign is wrong'),
    'double': ({'wiring': scaled(0, 2.0)}, r'moves 2\.\d\d times as far'),
    'half': ({'wiring': scaled(4, 0.5)}, r'moves 0\.\d\d times as far'),
    'degrees': ({'wiring': lambda command: 57.3 * command}, r'moves 5\d\.\d\d times as far'),
    'radians_as_degrees': ({'wiring': lambda command: command / 57.3}, 'does not move'),
    'nobody': ({'wiring': lambda command: 0.0 * command}, 'does not move'),
    'late': ({'delay': 6}, 'follows its command'),
    'zero_velocity': ({'seen': lambda p, v: (p, 0.0 * v)}, 'reports a velocity of 0.000'),
    'no_velocity': ({'seen': lambda p, v: (p, np.nan * v)}, 'no velocity'),
    'pushed': ({'wiring': lambda command: command + 0.1}, 'without a command'),
}


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('name', [
    'panda', pytest.param('ur5e', marks=pytest.mark.long),
    pytest.param('so101', marks=pytest.mark.long)])
def test_a_wiring_fault_is_named_before_the_arm_has_moved_far(name: str, fault: str) -> None:
    """The accident: a policy that drives one joint by another's command, at full speed."""
    given, words = FAULTS[fault]
    made, furthest = check(name, **given)
    assert not made.passed
    said = ' '.join(text for each in made.results for text in each.faults)
    assert re.search(words, said), said
    assert furthest < DANGEROUS


def test_a_controller_without_a_timeout_is_noticed() -> None:
    """It is the command's reader that stops an arm whose server was killed."""
    made, furthest = check('panda', timeout=0.0)
    assert made.timeout is None
    assert furthest < DANGEROUS


def test_an_arm_outside_its_limits_is_not_moved() -> None:
    start = np.asarray(load_robot('panda').home)
    start[3] = 0.0  # its upper limit is -0.0698
    made, furthest = check('panda', start=start)
    assert 'outside its limits' in made.faults[0]
    assert furthest < 0.02


def test_a_run_on_a_robot_asks_for_a_check_of_this_very_robot_file(tmp_path: Path) -> None:
    robot = load_robot('panda')
    with pytest.raises(CheckMissing, match='has not been checked'):
        require_passed(robot, tmp_path)
    path = record_path(robot, tmp_path)
    save_record({'passed': True, 'simulated': False, 'faults': []}, path)
    assert require_passed(robot, tmp_path)['passed']
    faster = robot.model_copy(update={'control': robot.control.model_copy(
        update={'action_scale': 0.5})})
    with pytest.raises(CheckMissing, match='has not been checked'):
        require_passed(faster, tmp_path)
    save_record({'passed': False, 'simulated': False, 'faults': ['j1 sign']}, path)
    with pytest.raises(CheckMissing, match='j1 sign'):
        require_passed(robot, tmp_path)
    save_record({'passed': True, 'simulated': True, 'faults': []}, path)
    with pytest.raises(CheckMissing, match='simulated'):
        require_passed(robot, tmp_path)
    path.write_text('{')
    with pytest.raises(CheckMissing, match='damaged'):
        require_passed(robot, tmp_path)


@pytest.mark.parametrize('start', [{1: 0.9}, {0: -1.2, 3: -1.5}])
def test_the_way_home_is_slow_and_ends_there(start: dict[int, float]) -> None:
    robot = load_robot('panda')
    arm = Arm(robot)
    position = np.asarray(robot.home, dtype=float).copy()
    for joint, value in start.items():
        position[joint] = value
    arm.reset(position)
    motion, fastest = HomeMotion(robot), 0.0
    for number in range(1000):
        state = arm.state()
        command = motion.tick(state.position, state.velocity, number * robot.period)
        if motion.done:
            break
        arm.step(command)
        fastest = max(fastest, float(np.abs(arm.state().velocity).max()))
    assert motion.done
    assert motion.blocked or np.abs(arm.state().position - robot.home).max() < 0.02
    assert fastest < 0.3


def test_an_arm_far_from_home_or_in_a_zone_is_named_before_motion() -> None:
    """The accident: the first command of a run, 1.5 rad from where the policy learned."""
    robot = load_robot('panda')
    home = np.asarray(robot.home, dtype=float)
    assert misplaced(robot, home, 0.05) == ''
    away = home.copy()
    away[0] += 1.5
    assert 'panda_joint1 is 1.50 rad from home' in misplaced(robot, away, 0.05)
    arm = Arm(robot)
    arm.reset(away)
    tip = arm.tip()
    ball = Sphere(shape='sphere', name='ball', centre=tuple(float(x) for x in tip), radius=0.05)
    with pytest.raises(NotReady, match='inside the zone ball'):
        misplaced(robot.model_copy(update={'keep_out': [ball]}), away, 0.05)
