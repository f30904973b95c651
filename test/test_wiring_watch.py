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

"""The server knows which joint answers which command, and takes no load for a wrong wire."""

from typing import Any

import numpy as np
import pytest

from spaars_ros.data.schema import RobotState
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.unmoved import unmoved_parts
from spaars_ros.nodes.policy_server.parameters import PARAMETERS
from spaars_ros.robot.config import load_robot
from spaars_ros.safety.monitors.external import ExternalMotion
from spaars_ros.safety.monitors.monitors import Monitors
from spaars_ros.safety.monitors.motion import MotionWatch
from spaars_ros.safety.monitors.wiring import WiringWatch
from spaars_ros.safety.stop import Stop
from spaars_ros.sim.driven_arm import DrivenArm
from spaars_ros.sim.fault_table import DEFAULTS

pytestmark = pytest.mark.timeout(120)

ROBOT = load_robot()
T = ROBOT.period
LIMITS = np.asarray(ROBOT.limits.velocity)


def driven(seconds: float, *, speed: float = 0.1, steady: float = 0.8, seed: int = 0,
           contact: bool = False, begin: float = 0.0, late_joint: int = 0,
           **faults: float) -> tuple[float, Stop | None]:
    """
    Drive a Panda with random commands; return when, and what, the watch says.

    :param speed: of the velocity limits, root mean square about
    :param steady: correlation of a command with the next
    :param contact: whether the task touches things on purpose
    :param begin: s, of the faults
    :param late_joint: number of a joint that is told to move from half of the time on only
    """
    arm, rng = DrivenArm(ROBOT), np.random.default_rng(seed)
    watch = WiringWatch(ROBOT, contact)
    command = np.zeros(7)
    for tick in range(round(seconds / T)):
        if tick == round(begin / T):
            arm.set({**DEFAULTS, **faults})
        state = arm.state()
        watch.measured(tick * T, state.position)
        wish = rng.normal(size=7) * speed * LIMITS * np.sqrt(1.0 - steady ** 2)
        home = 0.3 * (1.0 - steady) * (np.asarray(ROBOT.home) - state.position)
        command = steady * command + wish + home
        if late_joint and tick < 0.5 * seconds / T:
            command[late_joint - 1] = 0.0
        watch.commanded(tick * T, command)
        arm.obey(command)
        arm.move()
        stop = watch.judge() if tick % 2 else None
        if stop is not None:
            return tick * T, stop
    return seconds, None


@pytest.mark.parametrize('steady', [0.8, 0.97])
@pytest.mark.parametrize('faults', [
    {}, {'speed': 0.01}, {'command_delay': 0.15}, {'command_lag': 0.3}, {'payload': 2.0},
    {'friction': 5.0}, {'friction': 2.0, 'speed': 0.05}, {'damping': 20.0}, {'push': 0.8}],
    ids=str)
def test_a_load_a_lag_or_a_hand_is_no_wrong_wire(faults: dict[str, float], steady: float) -> None:
    for seed in range(3):
        assert driven(10.0, seed=seed, steady=steady, **faults)[1] is None


@pytest.mark.parametrize(('faults', 'code', 'said'), [
    ({'swap': 2, 'swap_with': 3}, 'WRONG_WIRING', 'command of panda_joint2 moves panda_joint3'),
    ({'swap': 1, 'swap_with': 3, 'speed': 0.01}, 'WRONG_WIRING',
     'command of panda_joint3 moves panda_joint1'),
    ({'swap': 1, 'swap_with': 7, 'command_delay': 0.15}, 'WRONG_WIRING',
     'command of panda_joint1 moves panda_joint7'),
    ({'flip': 4}, 'WRONG_WIRING', 'command of panda_joint4 moves it backwards'),
    ({'scale': 2.0}, 'WRONG_SCALE', 'times as far as commanded'),
    ({'scale': 3.0, 'scale_joint': 5}, 'WRONG_SCALE', 'panda_joint5'),
    ({'scale': 0.4}, 'WRONG_SCALE', 'every joint'),
    ({'scale': 0.0, 'scale_joint': 2}, 'NO_MOTION',
     'panda_joint2 was commanded: it does not obey'),
    ({'command_drop': 1.0}, 'NO_MOTION', 'no joint moves')], ids=str)
def test_a_wrong_wire_is_named_soon(faults: dict[str, float], code: str, said: str) -> None:
    for seed in range(3):
        when, stop = driven(8.0, seed=seed, **faults)
        assert stop is not None and stop.code == code and said in stop.text
        # Joints that happen to move alike cannot be told apart before they differ.
        assert when < 5.0


def test_an_arm_that_is_held_up_is_no_fault_of_a_task_that_touches_things() -> None:
    """The accident: a peg that stands on the plate ends the run with NO_MOTION."""
    held = {'seconds': 9.0, 'begin': 4.0, 'scale': 0.0}
    assert driven(**held)[1] is not None
    assert driven(**held, contact=True)[1] is None
    when, stop = driven(8.0, contact=True, command_drop=1.0)
    assert stop is not None and stop.code == 'NO_MOTION', 'it never followed'
    swapped = driven(9.0, contact=True, begin=4.0, swap=2, swap_with=3)[1]
    assert swapped is not None and swapped.code == 'WRONG_WIRING'
    when, stop = driven(**{**held, 'seconds': 40.0}, contact=True)
    assert stop is not None and stop.code == 'NO_MOTION' and when > 20.0, 'nothing holds for ever'


@pytest.mark.parametrize(('faults', 'code', 'said'), [
    ({'scale': 0.0, 'scale_joint': 2}, 'NO_MOTION', 'panda_joint2'),
    ({'scale': 0.4}, 'WRONG_SCALE', 'every joint'),
    ({'scale': 2.0}, 'WRONG_SCALE', 'times as far'),
    ({'scale': 3.0, 'scale_joint': 5}, 'WRONG_SCALE', 'panda_joint5'),
    ({'flip': 4}, 'WRONG_WIRING', 'backwards'),
    ({'swap': 1, 'swap_with': 3}, 'WRONG_WIRING', 'command of')], ids=str)
@pytest.mark.parametrize('begin', [0.0, 4.0])
def test_a_wrong_wire_stops_also_a_task_that_touches_things(
        faults: dict[str, float], code: str, said: str, begin: float) -> None:
    """Whoever declares contact declares no wiring: what is touched moves none further for long."""
    stoppable = begin == 0.0 or code != 'NO_MOTION' and faults.get('scale') != 0.4
    for seed in range(3):
        stop = driven(begin + 8.0, seed=seed, contact=True, begin=begin, **faults)[1]
        if stoppable:
            assert stop is not None and stop.code == code and said in stop.text
        else:
            assert stop is None, 'a joint that has followed may be held up'


def test_a_joint_without_a_drive_is_no_held_up_one_because_others_followed() -> None:
    """It was: a joint that the task seldom moves was never seen to obey, and never missed."""
    for seed in range(3):
        stop = driven(14.0, seed=seed, contact=True, late_joint=2, scale=0.0, scale_joint=2)[1]
        assert stop is not None and stop.code == 'NO_MOTION' and 'panda_joint2' in stop.text


def test_swapped_joints_are_known_within_a_second_of_motion() -> None:
    """The accident: an elbow beyond its limit, since the filter looked at another joint."""
    times = sorted(driven(8.0, seed=seed, swap=1, swap_with=3)[0] for seed in range(15))
    assert times[7] <= 1.25, 'the half of them, from rest on'


def test_an_arm_that_is_slower_to_start_than_it_is_watched_is_not_unmoved() -> None:
    assert driven(3.0, command_delay=0.5)[1] is None


def pushed(seconds: float = 6.0, *, speed: float = 0.1, seed: int = 0, steady: float = 0.8,
           begin: float = 3.0, push: float = 0.0, **faults: float) -> list[float]:
    """Drive a Panda, push it from `begin` s on; return when motion from outside was seen."""
    arm, watch, rng = DrivenArm(ROBOT), ExternalMotion(ROBOT), np.random.default_rng(seed)
    command, seen = np.zeros(7), []
    for tick in range(round(seconds / T)):
        arm.set({**DEFAULTS, **faults, 'push': push if tick * T >= begin else 0.0})
        if watch.moved(arm.state()) is not None:
            seen.append(tick * T)
        wish = rng.normal(size=7) * speed * LIMITS * np.sqrt(1.0 - steady ** 2)
        command = steady * command + wish
        watch.commanded(command)
        arm.obey(command)
        arm.move()
    return seen


@pytest.mark.parametrize('faults', [{}, {'command_delay': 0.3}, {'command_lag': 0.3},
                                    {'payload': 2.0}, {'friction': 5.0}, {'steady': 0.97}],
                         ids=str)
def test_an_arm_that_follows_badly_is_moved_by_nobody(faults: dict[str, float]) -> None:
    assert pushed(10.0, **faults) == []


@pytest.mark.parametrize('push', [0.8, -0.8, 3.0])
def test_a_hand_on_the_arm_is_seen_within_three_periods(push: float) -> None:
    for seed in range(3):
        seen = pushed(4.0, push=push, seed=seed)
        assert seen and seen[0] <= 3.0 + 3.1 * T and len(seen) > 0.8 / T


def test_transitions_that_a_hand_made_are_left_out() -> None:
    schema = StepSchema(observation=1, latent=1, action=1)
    rows = np.stack([schema.row(sequence=k, external_motion=k in (3, 4, 8)) for k in range(9)])
    assert unmoved_parts(schema, rows) == [slice(0, 2), slice(4, 7)]
    old = StepSchema(observation=1, latent=1, action=1, version=1)
    assert unmoved_parts(old, np.zeros((9, old.width))) == [slice(0, 8)]


def moving(scale: float, told: float, ticks: int) -> Any:
    """Return what is found, and when, where joint 1 goes at a share of its limit."""
    watch = MotionWatch(ROBOT, spike=2.0, frozen=10, mismatch=0.5, ticks=10)
    speed = np.zeros(7)
    speed[0] = scale * LIMITS[0]
    for tick in range(ticks):
        state = RobotState(10**9 + round(tick * T * 1e9), tick * T * speed, told * speed,
                           np.zeros(7))
        found = watch.take(state, speed)
        if found is not None:
            return tick, found
    return None


@pytest.mark.parametrize('scale', [0.01, 0.1, 0.9])
def test_velocities_of_0_while_the_arm_moves_stop_it_within_mismatch_ticks(scale: float) -> None:
    tick, found = moving(scale, told=0.0, ticks=50)
    assert found.code == 'VELOCITY_MISMATCH' and tick <= 12
    assert scale > 0.5 or 'velocity: derived' in found.text
    assert moving(scale, told=1.0, ticks=30) is None


@pytest.mark.parametrize('seed', range(5))
def test_a_wire_that_was_mended_before_the_reset_is_no_stop_again(seed: int) -> None:
    """The accident: what moved before the reset was judged once more after it."""
    given = {name: each.default for name, each in PARAMETERS.params.items()}
    watches = Monitors(ROBOT, given, wall=True)
    arm, rng = DrivenArm(ROBOT), np.random.default_rng(seed)
    arm.set({**DEFAULTS, 'flip': 4})
    command, stopped, reset = np.zeros(7), None, False
    for tick in range(round(8.0 / T)):
        stop = watches.moved(tick * T, arm.state())
        if stop is not None and stopped is None:
            assert stop.code == 'WRONG_WIRING'
            stopped = tick
        if stopped is not None and not reset and tick > stopped + round(0.5 / T):
            arm.set(DEFAULTS)
            watches.resumed()
            reset, stop = True, None
        assert stop is None or not reset, f'{stop.text}, {(tick - stopped) * T:.2f} s after it'
        wish = rng.normal(size=7) * 0.1 * LIMITS * 0.6
        command = 0.8 * command + wish + 0.06 * (np.asarray(ROBOT.home) - arm.state().position)
        if stopped is not None and not reset:
            command = np.zeros(7)  # it stands, and what it did before stays the newest motion
        watches.commanded(tick * T, command)
        arm.obey(command)
        arm.move()
    assert reset
