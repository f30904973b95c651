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

"""What stops the robot and what a reset needs: one test a code, alone and over real topics."""

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import re
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from server_rig import OK
from server_rig import Rig
from std_msgs.msg import Float64MultiArray

from spaars_ros.control.control import Tick
from spaars_ros.control.supervisor import Phase
from spaars_ros.control.supervisor import Supervisor
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import RobotState
from spaars_ros.nodes.policy_server.parameters import PARAMETERS
from spaars_ros.nodes.policy_server.persistent_state import PersistentState
from spaars_ros.nodes.policy_server.responder import Responder
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.monitors.cost_watch import CostWatch
from spaars_ros.safety.monitors.monitors import Monitors
from spaars_ros.safety.monitors.motion import MotionWatch
from spaars_ros.safety.monitors.motion import SETTLED
from spaars_ros.safety.monitors.recent import Recent
from spaars_ros.safety.monitors.timing import TimingWatch
from spaars_ros.safety.monitors.watchdog import Order
from spaars_ros.safety.monitors.watchdog import Watchdog
from spaars_ros.safety.stop import Stop
from spaars_ros.safety.stop import StopLatch

pytestmark = pytest.mark.timeout(120)

pytest_plugins = ['server_rig']

ROOT = Path(__file__).resolve().parent.parent
ROBOT = load_robot()
PERIOD_NS = round(ROBOT.period * 1e9)
COSTS = ArrayCodec({'sequence': 1, 'episode': 1, 'ended': 1, 'valid': 1, 'cost': 1,
                    'episode_cost': 1})
CODE = re.compile('[A-Z]+(_[A-Z]+)*')


def codes_of(source: str) -> set[str]:
    """Return the codes of a source's stops; where one is a variable, what its function names."""
    codes = set()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        constants = {node.value for node in ast.walk(function)
                     if isinstance(node, ast.Constant) and isinstance(node.value, str)
                     and CODE.fullmatch(node.value)}
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == 'Stop':
                code = call.args[0]
                codes |= {str(code.value)} if isinstance(code, ast.Constant) else constants
    return codes


def unreadable() -> set[str]:
    """Return the codes that the reader of joint_states raises: the server stops with them."""
    source = (ROOT / 'spaars_ros/ros/joint_states.py').read_text()
    reader = next(node for node in ast.parse(source).body
                  if isinstance(node, ast.ClassDef) and node.name == 'JointStateReader')
    return {call.args[0].value for call in ast.walk(reader) if isinstance(call, ast.Call)
            and ast.unparse(call.func) == 'CodecError' and isinstance(call.args[0], ast.Constant)}


def of_sources() -> set[str]:
    """Return the codes of messages that are no sample of their source, as the watch makes them."""
    found = set()
    for path in [*(ROOT / 'spaars_ros/ros/sources').glob('*.py'),
                 *(ROOT / 'spaars_ros/vision').glob('*.py'),
                 ROOT / 'spaars_ros/safety/monitors/source_watch.py']:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and call.args \
                    and ast.unparse(call.func) in ('SourceError', 'ImageError', 'self.refuse') \
                    and isinstance(call.args[0], ast.Constant):
                found.add(f'SOURCE_{call.args[0].value}')
    # Before the first joint_states: such a sample is left out, and nothing is wrong.
    return found - {'SOURCE_NO_STATE'}


def test_every_code_that_the_source_can_produce_is_in_the_table() -> None:
    page = (ROOT / 'docs/reference/stops.md').read_text()
    table = {line.split('|')[1].strip(' `'): line for line in page.splitlines()
             if line.startswith('| `')}
    made = unreadable()
    for path in (ROOT / 'spaars_ros').rglob('*.py'):
        made |= codes_of(path.read_text())
    made |= of_sources()
    assert {'ESTOP', 'NON_FINITE_STATE', 'GROSS_COMMAND', 'DUPLICATE_JOINT'} <= made
    assert made == set(table)
    for line in table.values():
        assert all(cell.strip() for cell in line.strip('|').split('|')), line


def test_codes_behind_a_variable_are_found() -> None:
    assert codes_of("def f():\n    for code in ('ONE', 'TWO_B'):\n        Stop(code, 1.0, 2.0)\n"
                    "def g():\n    return Stop('THREE', 1, 2), 'FOUR'\n") == {
                        'ONE', 'TWO_B', 'THREE'}


def test_recent_forgets_what_left_the_window() -> None:
    recent = Recent(3, 2)
    assert [recent.add(bad) for bad in (True, False, True)] == [False, False, True]
    assert recent.too_many and not recent.add(False)
    recent.add(False)
    assert recent.count == 1 and recent.total == 2 and not recent.too_many
    never = Recent(3, 0)
    assert not any(never.add(True) for _ in range(5)) and not never.too_many


@pytest.mark.parametrize(('age', 'computed', 'code'), [
    (0.11, 0.0, 'DEADLINE'), (0.0, 0.051, 'OVERRUN')])
def test_too_many_slow_ticks_stop_and_their_cause_passes(age: float, computed: float,
                                                         code: str) -> None:
    watch = TimingWatch(period=0.05, deadline=0.1, late=3, overruns=3, window=10)
    for _ in range(2):
        assert watch.add(age, computed) is None
    assert watch.add(0.1, 0.05) is None, 'just in time'
    stop = watch.add(age, computed)
    assert stop is not None and (stop.code, stop.value, stop.threshold) == (code, 3, 3)
    for _ in range(6):
        assert watch.add(0.0, 0.0) is None and watch.cause() is not None
    watch.add(0.0, 0.0)
    assert watch.cause() is None


def test_disorder_is_a_cause_when_repeated_and_not_before() -> None:
    watchdog = Watchdog(0.2, window=10, out_of_order=3)
    for tick in range(1, 4):
        assert watchdog.cause() is None
        watchdog.take(tick * PERIOD_NS)
        assert watchdog.take(tick * PERIOD_NS - 1) is Order.OLD
    stop = watchdog.cause()
    assert stop is not None and (stop.code, stop.value) == ('OUT_OF_ORDER', 3)
    for tick in range(4, 12):
        watchdog.take(tick * PERIOD_NS)
    assert watchdog.cause() is None and watchdog.out_of_order == 3


class Wire:
    """A responder with its real filter, supervisor and monitors; what it sends moves the arm."""

    def __init__(self, *, timed: bool = True, skew: float = 0.0, speed: float = 0.5,
                 old: float = 0.0, late: int = 0) -> None:
        """Begin at home; states are `old` s when a tick comes, commands are obeyed `late`."""
        self.robot = ROBOT.model_copy(update={'keep_out': []})
        self.filter = SafetyFilter(self.robot)
        self.wanted = speed * np.eye(7)[0]
        self.sent: list[Any] = []
        # Ahead of the real one, so that what a call takes does not count.
        self.skew, self.now, self.steady = skew, 1000 * NANO, time.monotonic() + 1e4
        self.position, self.velocity = np.array(ROBOT.home), np.zeros(7)
        self.old, self.waiting = old, [np.zeros(7)] * late
        self.records = SimpleNamespace(sequence=0, lost_ticks=0, latency=0.0)
        self.latch = StopLatch()
        self.supervisor = Supervisor(self.robot, self, self.latch, episodes=0,  # type: ignore
                                     service=False)
        monitors = Monitors(self.robot, {name: param.default for name, param
                                        in PARAMETERS.params.items()}, wall=True)
        nothing = SimpleNamespace(
            add=lambda *_: None, cause=lambda: None, announce=lambda *_: None, start=lambda: None,
            before_tick=lambda: None, after_tick=lambda: None,
            send=lambda command, position, stamp: self.sent.append(np.array(command)),
            loop_statistics=SimpleNamespace(add=lambda *_: None))
        self.responder = Responder(
            robot=self.robot, loop=self, supervisor=self.supervisor,  # type: ignore[arg-type]
            monitors=monitors, writer=nothing, log=nothing, reporter=nothing,  # type: ignore
            bundle_manager=nothing, reset=None, timed=timed, now=lambda: self.now,  # type: ignore
            external='record', sources=nothing)  # type: ignore[arg-type]

    episode, takeover, guiding = -1, None, None
    actuation = SimpleNamespace(channels=SimpleNamespace(stop=lambda: None))

    def begin(self, state: RobotState) -> None:
        self.filter.reset(state)

    def tick(self, state: RobotState, age: float = 0.0) -> Tick:
        done = self.filter.apply(self.wanted, state, age)
        return Tick(done.command, done.stop is not None, done.stop, lambda: np.zeros(3),
                    np.zeros(0))

    def abort(self, state: RobotState) -> Any:
        return np.zeros(3)

    def pass_period(self) -> None:
        """Let the arm obey for a period."""
        self.position = self.position + self.velocity * self.robot.period
        self.now += PERIOD_NS
        self.steady += self.robot.period
        self.waiting.append(self.velocity if not self.sent else self.sent[-1].copy())
        self.velocity = self.waiting.pop(0)

    def period(self, heard: bool = True) -> None:
        """Let the arm obey for a period, its state be heard or not, and the timer fire."""
        self.position = self.position + self.velocity * self.robot.period
        self.now += PERIOD_NS
        self.steady += self.robot.period
        if heard:
            self.responder.on_state(RobotState(
                self.now + round((self.skew - self.old) * NANO),
                self.position - self.old * self.velocity, self.velocity.copy(),
                np.zeros(7)), self.steady - self.old)
        self.responder.on_period(self.steady, self.now)
        if self.sent:
            self.waiting.append(self.sent[-1].copy())
            self.velocity = self.waiting.pop(0)


@pytest.mark.parametrize('skew', [0.0, 0.5, 0.95])
def test_an_arm_that_is_no_longer_heard_stays_within_its_limits_whatever_its_clock_says(
        skew: float) -> None:
    wire = Wire(skew=skew)
    limit = ROBOT.limits.position[0][1]
    wire.position[0] = limit - 0.5
    for _ in range(100):
        wire.period(heard=wire.position[0] < limit - 0.05)
    assert wire.latch.stop is not None and wire.latch.stop.code == 'STALE'
    assert not wire.velocity.any() and wire.position[0] <= limit


@pytest.mark.parametrize('old', [0.0, 0.25, 0.5, 0.9, 0.999])
@pytest.mark.parametrize('late', [0, 1])
def test_an_arm_at_speed_stops_inside_however_old_its_states_are_at_the_timer(
        old: float, late: int) -> None:
    """It has moved on since: as if it were that much later than `control.delay` says."""
    limit = ROBOT.limits.position[0][1]
    assert ROBOT.control.delay == 1
    wire = Wire(speed=1.9, old=old * ROBOT.period, late=late)
    wire.position[0] = limit - 1.5
    reached = -np.inf
    for _ in range(120):
        wire.period()
        reached = max(reached, wire.position[0])
    assert wire.latch.stop is None or wire.latch.stop.code == 'REPEATED_VIOLATION'
    assert limit - 0.05 < reached <= limit - ROBOT.limits.margin + 1e-9


def test_an_arm_that_is_no_longer_heard_after_the_timer_missed_a_period_stops_inside() -> None:
    """The last command stood for two, and is not one among others of one period each."""
    limit = ROBOT.limits.position[0][1]
    worst = np.inf
    for room in np.arange(0.3, 0.9, 0.02):
        for before in range(2, 9):
            wire = Wire(speed=1.9)
            wire.position[0] = limit - room
            for tick in range(60):
                if tick == before:  # the process was away
                    wire.pass_period()
                wire.period(heard=tick < before)
            worst = min(worst, limit - wire.position[0])
    assert worst >= 0.0


@pytest.mark.parametrize('old', [0.0, 0.3, 0.9])
@pytest.mark.parametrize(('late', 'said'), [(0, ''), (1, ''), (4, 'control.delay says 1')])
def test_how_late_the_arm_follows_is_found_with_states_of_any_age(
        old: float, late: int, said: str) -> None:
    wire = Wire(old=old * ROBOT.period, late=late)
    rng = np.random.default_rng(0)
    for _ in range(120):
        wire.wanted = 0.8 * wire.wanted + 0.05 * rng.normal(size=7)
        wire.period()
    wire.responder.monitors.following.judge()
    found = wire.responder.monitors.following.judge()
    assert found is not None and found.least <= late <= found.most <= found.least + 1.0
    assert said in found.warning and bool(said) == bool(found.warning)
    # What brakes are commands too: no stop is taken for an arm that goes its own way.
    wire.responder.trip(Stop('ESTOP', 1.0, 0.0))
    for _ in range(30):
        wire.period()
    assert wire.responder.resume(None) is None
    for _ in range(60):
        wire.period()
        again = wire.responder.monitors.following.judge()
        assert again is None or 'otherwise' not in again.warning


def test_a_reset_with_a_timer_begins_from_rest_and_not_from_the_stop() -> None:
    """It would go on for a moment at the speed that the arm was stopped at."""
    wire = Wire(speed=0.9)
    for _ in range(30):
        wire.period()
    assert wire.velocity[0] > 0.8
    wire.responder.trip(Stop('ESTOP', 1.0, 0.0))
    for _ in range(40):
        wire.period()
    assert not wire.velocity.any() and wire.latch.stop is not None
    wire.position = wire.position + 0.1 * np.eye(7)[2]  # by hand, while it stands
    wire.period()
    assert wire.supervisor.state is not None
    np.testing.assert_array_equal(wire.supervisor.state.position, wire.position)
    assert wire.responder.resume(None) is None
    before = len(wire.sent)
    for _ in range(12):
        wire.period()
    assert max(command[0] for command in wire.sent[before:]) <= 1e-9, 'back, never on'


@pytest.mark.parametrize(('wall', 'passed', 'jumps'), [
    (True, 0.05, True), (True, 5.0, False), (False, 5.0, True)])
def test_a_clock_that_jumped_ahead_is_told_from_an_outage(wall: bool, passed: float,
                                                          jumps: bool) -> None:
    watchdog = Watchdog(0.2, wall=wall)
    watchdog.take(NANO, 100.0)
    assert watchdog.take(NANO + PERIOD_NS, 100.05) is Order.NEW
    assert watchdog.take_jump() is None
    assert watchdog.take(6 * NANO, 100.05 + passed) is Order.NEW
    jump = watchdog.take_jump()
    assert (jump is not None and jump.code == 'CLOCK_JUMP' and jump.value > 0) == jumps


def judge(watch: MotionWatch, positions: Any, velocity: float, command: float,
          stamps: Any = None) -> list[str]:
    """Feed joint 1's positions, the others at rest; returns the codes, '' for none."""
    said = []
    for tick, position in enumerate(positions):
        at = np.zeros(7)
        at[0] = position
        state = RobotState(NANO + round((tick if stamps is None else stamps[tick]) * PERIOD_NS),
                           at, np.eye(7)[0] * velocity, np.zeros(7))
        found = watch.take(state, np.eye(7)[0] * command)
        said.append('' if found is None else found.code)
    return said


def motion_watch(**changes: Any) -> MotionWatch:
    return MotionWatch(ROBOT, **{'spike': 2.0, 'frozen': 4, 'mismatch': 0.5, 'ticks': 3,
                                 **changes})


def test_true_motion_is_believed_at_full_speed_and_with_irregular_stamps() -> None:
    top = ROBOT.limits.velocity[0]
    ticks = np.cumsum([1.0, 1.0, 0.02, 1.98, 1.0, 3.0, 0.02, 1.0])
    for stamps in (None, ticks):
        positions = np.arange(8) * top * ROBOT.period if stamps is None else (
            ticks * top * ROBOT.period)
        assert judge(motion_watch(), positions, top, top, stamps) == [''] * 8


def test_a_spike_is_not_believed_but_the_state_after_it_is() -> None:
    watch = motion_watch()
    assert judge(watch, [0.0, 0.01, 0.9, 0.02, 0.03], 0.2, 0.2) == ['', '', 'SPIKE', '', '']
    assert watch.cause() is not None
    judge(watch, 0.03 + 0.01 * np.arange(SETTLED), 0.2, 0.2)
    assert watch.cause() is None


def test_an_arm_that_really_is_elsewhere_is_believed_in_time() -> None:
    codes = judge(motion_watch(), [0.0, *[0.8] * 8], 0.0, 0.0)
    assert codes[1] == codes[2] == 'SPIKE' and codes[-1] == ''


def test_a_frozen_joint_shows_only_while_it_is_commanded_to_move() -> None:
    assert judge(motion_watch(), [0.3] * 9, 0.0, 0.01) == [''] * 9
    assert judge(motion_watch(), [0.3] * 6, 0.0, 0.5) == ['', '', '', '', 'FROZEN', 'FROZEN']
    assert judge(motion_watch(frozen=0), [0.3] * 6, 0.0, 0.5) == [''] * 6
    assert judge(motion_watch(), 0.3 + 1e-6 * np.arange(6), 0.0, 0.5) == [''] * 6, 'it moves'


@pytest.mark.parametrize(('speed', 'periods'), [(0.03, 40), (-0.03, 40)])
def test_encoders_that_stand_still_stop_a_slow_arm_too(speed: float, periods: int) -> None:
    """The accident: below 5 % of its velocity limit a blind arm went on, 9 mm into a zone."""
    watch, said = motion_watch(), []
    state = RobotState(0, np.array(ROBOT.home), np.zeros(7), np.zeros(7))
    for tick in range(periods):
        found = watch.take(RobotState(tick * PERIOD_NS, state.position, state.velocity,
                                      state.effort), np.eye(7)[0] * speed)
        said.append(found.code if found is not None else '')
    assert 'FROZEN' in said
    assert said.index('FROZEN') * ROBOT.period * abs(speed) < 0.012


def test_a_state_whose_positions_do_not_change_is_as_old_as_the_last_that_did() -> None:
    """The accident: half a second until FROZEN, in which the tip got 13 mm into a zone."""
    watch = motion_watch()
    places = [0.1, 0.2, 0.2, 0.2, 0.21, *[0.21] * 9]
    seen = []
    for tick, place in enumerate(places):
        state = RobotState(tick * PERIOD_NS, np.array([place, *ROBOT.home[1:]]), np.zeros(7),
                           np.zeros(7))
        watch.take(state, np.zeros(7))
        seen.append(round(watch.blind(state) / ROBOT.period))
    assert seen == [0, 0, 1, 2, 0, 1, 2, 3, 4, 4, 4, 4, 4, 4], 'at most `frozen` periods'


def test_an_arm_that_a_reset_put_elsewhere_has_not_drifted() -> None:
    """The accident: a stop DRIFT in the first second of an episode after a jump of the clock."""
    for phase, said in ((Phase.RESETTING, None), (Phase.RUNNING, 'DRIFT')):
        wire = Wire()
        for _ in range(10):
            wire.period()
        monitors, stamp = wire.responder.monitors, wire.now
        monitors.commanded(1e5, np.zeros(7))
        wire.supervisor.phase = phase
        found = None
        for tick in range(12):
            stamp += PERIOD_NS
            state = RobotState(stamp, np.array(ROBOT.home) + 0.08 * tick, np.zeros(7),
                               np.zeros(7))
            wire.responder._believed(state)
            found = found or (monitors.drift.take(state) if tick > 10 or phase is Phase.RUNNING
                              else None)
        assert (None if found is None else found.code) == said


def test_velocity_that_contradicts_the_position_shows_when_it_lasts() -> None:
    still = 0.3 + 1e-6 * np.arange(6)
    assert judge(motion_watch(), still, 1.5, 1.5)[-3:] == ['VELOCITY_MISMATCH'] * 3
    assert judge(motion_watch(), still[:3], 1.5, 1.5) == [''] * 3
    assert judge(motion_watch(mismatch=0.0), still, 1.5, 1.5) == [''] * 6


@pytest.mark.parametrize('rate', [100.0, 500.0, 1000.0])
def test_joint_states_faster_than_the_control_rate_are_watched_the_same(rate: float) -> None:
    """Between two of them nothing moves as much as a wrong velocity would have to show."""
    share = rate * ROBOT.period
    speed = 0.9 * ROBOT.limits.velocity[0]
    count = int(2.0 * rate)
    stamps = np.arange(count) / share
    positions = np.arange(count) / rate * speed
    assert set(judge(motion_watch(), positions, speed, speed, stamps)) == {''}
    assert 'VELOCITY_MISMATCH' in judge(motion_watch(), positions, -speed, speed, stamps)
    found = judge(motion_watch(mismatch=0.0), np.full(count, 0.3), 0.0, 0.5, stamps)
    first = found.index('FROZEN') / share
    assert 3.5 <= first <= 5.0, 'four periods, not messages'


@pytest.mark.parametrize('skew', [0.0, 0.5, 0.95, -0.1])
def test_a_robot_whose_clock_is_ahead_is_stale_as_soon_as_another(skew: float) -> None:
    """Its joint_states would look fresh for as long as it is ahead, and the arm moves on."""
    watchdog = Watchdog(0.2, wall=True)
    assert watchdog.take(100 * NANO + round(skew * NANO), 50.0) is Order.NEW
    after = [age for age in np.arange(0.0, 1.5, 0.01)
             if watchdog.check(100 * NANO + round(age * NANO), 50.0 + age) is not None]
    assert after[0] == pytest.approx(0.2 + min(skew, 0.0), abs=0.02)
    ages = [watchdog.age(100 * NANO + round(age * NANO), 50.0 + age) for age in (0.0, 0.1, 0.2)]
    assert np.diff(ages) == pytest.approx([0.1, 0.1]) and ages[0] >= 0.0


def cost_watch(mode: str = 'stop', limit: float = 0.0) -> CostWatch:
    return CostWatch(mode=mode, timeout=1.0, names=['wear', 'heat'], limit=limit)


def test_silence_is_measured_from_the_step_that_is_not_answered() -> None:
    watch = cost_watch()
    watch.stepped(5, 10.0)
    watch.stepped(6, 10.5)
    assert watch.cause(11.0) is None
    stop = watch.cause(11.1)
    assert stop is not None and (stop.code, stop.threshold) == ('COST_MONITOR', 1.0)
    assert stop.value == pytest.approx(1.1)
    watch.heard(4, 0, [0.0, 0.0])
    assert watch.cause(11.1) is not None, 'an answer to an older step'
    watch.heard(6, 0, [0.0, 0.0])
    assert watch.cause(20.0) is None
    watch.stepped(7, 20.0)
    assert watch.cause(21.1) is not None


@pytest.mark.parametrize(('mode', 'says', 'stops'), [
    ('off', False, False), ('warn', True, False), ('stop', True, True)])
def test_silence_stops_only_where_it_shall(mode: str, says: bool, stops: bool) -> None:
    watch = cost_watch(mode)
    watch.stepped(1, 0.0)
    assert (watch.silence(2.0) is not None) == says and (watch.cause(2.0) is not None) == stops


def test_a_gross_cost_stops_once_an_episode_and_names_the_constraint() -> None:
    watch = cost_watch(limit=8.0)
    assert watch.heard(1, 3, [8.0, 0.0]) is None
    stop = watch.heard(2, 3, [7.0, 9.5])
    assert stop is not None and (stop.code, stop.value, stop.threshold) == ('COST', 9.5, 8.0)
    assert 'heat' in stop.text
    assert watch.heard(3, 3, [7.0, 9.6]) is None, 'its closing record, after the reset'
    assert watch.heard(4, 4, [0.0, 9.0]) is not None
    assert cost_watch().heard(1, 0, [1e6, 0.0]) is None, '0 is off'


# Over real topics.


def assert_stops_within_the_limits(rig: Rig, code: str) -> None:
    """The stop is named, the episode closed, and the arm brought to rest and held."""
    rig.spin_until(lambda: rig.code == code)
    assert {'value', 'threshold', 'text'} <= set(rig.statuses[-1])
    rig.spin_until(lambda: rig.standing)
    rig.spin_until(lambda: rig.steps[-1]['flag'][0] == Flag.ABORTED)
    sent = np.array([msg.data for msg in rig.commands])
    limit = np.asarray(rig.robot.limits.acceleration) * rig.robot.period + 1e-9
    assert (np.abs(np.diff(sent, axis=0)) <= limit).all()
    count, steps = len(rig.commands), len(rig.steps)
    rig.spin_for(0.3)
    assert not any(any(msg.data) for msg in rig.commands[count:]) and len(rig.steps) == steps
    assert rig.code == code


def resume(rig: Rig) -> None:
    """Reset until it is granted, and see the next episode begin."""
    rig.spin_until(lambda: rig.call('policy_server/reset').success, 20.0)
    episode = rig.steps[-1]['episode'][0]
    rig.spin_until(lambda: rig.steps[-1]['episode'][0] > episode, 20.0)


def moved(msg: JointState, joint: int, by: float) -> JointState:
    position = list(msg.position)
    position[joint] += by
    msg.position = position
    return msg


@pytest.mark.parametrize('trigger', ['joint_states', 'timer'])
def test_a_position_spike_is_answered_by_braking_and_never_acted_on(
        start: Callable[..., Rig], trigger: str) -> None:
    rig = start(trigger=trigger)
    spikes = iter([0.9])
    rig.mutate = lambda msg: moved(msg, 2, next(spikes, 0.0))
    assert_stops_within_the_limits(rig, 'SPIKE')
    assert 'panda_joint3' in rig.statuses[-1]['text']
    assert float(rig.statuses[-1]['value']) == pytest.approx(0.9, abs=0.1)
    observed = np.array([step['observation'] for step in rig.steps])
    assert np.abs(np.diff(observed[:, 2])).max() < 0.5
    resume(rig)


def test_a_spike_does_not_pull_a_position_command(start: Callable[..., Rig]) -> None:
    """The position interfaces start from the measured position: a false one would be followed."""
    rig = start(active=False, command_interface='forward_position')
    rig.follow = False
    assert rig.server.trigger_configure() == OK and rig.server.trigger_activate() == OK
    rig.spin_until(lambda: len(rig.steps) > 5)
    rig.mutate = lambda msg: moved(msg, 2, 0.9)
    rig.spin_until(lambda: rig.code == 'SPIKE')
    rig.mutate = lambda msg: msg
    rig.spin_for(0.2)
    sent = np.array([msg.data for msg in rig.commands])
    assert np.abs(np.diff(sent, axis=0)).max() < 0.25


def test_a_reset_is_refused_while_the_spikes_go_on(start: Callable[..., Rig]) -> None:
    rig = start()
    rig.mutate = lambda msg: moved(msg, 0, 0.9 * (len(rig.asked) % 4 == 0))
    rig.spin_until(lambda: rig.code == 'SPIKE')
    rig.spin_for(0.3)
    answer = rig.call('policy_server/reset')
    assert not answer.success and 'SPIKE' in answer.message
    rig.mutate = lambda msg: msg
    resume(rig)


def test_frozen_joints_stop(start: Callable[..., Rig]) -> None:
    rig = start(frozen=4)
    kept: dict[str, Any] = {}

    def freeze(msg: JointState) -> JointState:
        msg.position = kept.setdefault('position', msg.position)
        msg.velocity = kept.setdefault('velocity', msg.velocity)
        return msg

    rig.server._loop.explore = False
    decide = rig.server._loop.runtime.decide
    # An untrained policy hardly moves.
    rig.server._loop.runtime.decide = (  # type: ignore[method-assign]
        lambda *args: replace(decide(*args), action=np.full(7, 0.6)))
    rig.spin_for(0.3)
    rig.mutate = freeze
    assert_stops_within_the_limits(rig, 'FROZEN')
    assert float(rig.statuses[-1]['value']) == 4


def test_joint_states_out_of_order_stop_when_repeated(start: Callable[..., Rig]) -> None:
    rig = start(out_of_order=3, window=20)
    kept: list[JointState] = []
    rig.mutate = lambda msg: kept.append(msg) or msg  # type: ignore[func-returns-value]
    rig.spin_until(lambda: len(kept) > 2)
    time.sleep(0.5 * rig.robot.period)
    # Each state comes once more, after its successor.
    late = rig.create_timer(rig.robot.period, lambda: rig.states.publish(kept[-2]))
    assert_stops_within_the_limits(rig, 'OUT_OF_ORDER')
    answer = rig.call('policy_server/reset')
    assert not answer.success and 'OUT_OF_ORDER' in answer.message
    late.cancel()
    resume(rig)


def test_a_clock_that_jumps_ahead_stops(start: Callable[..., Rig]) -> None:
    rig = start()

    def ahead(msg: JointState) -> JointState:
        msg.header.stamp.sec += 50
        return msg

    rig.mutate = ahead
    assert_stops_within_the_limits(rig, 'CLOCK_JUMP')
    assert float(rig.statuses[-1]['value']) == pytest.approx(50.0, abs=1.0)
    assert 'CLOCK_AHEAD' in rig.call('policy_server/reset').message
    rig.mutate = lambda msg: msg
    resume(rig)


@pytest.mark.parametrize('trigger', ['joint_states', 'timer'])
def test_commands_that_keep_coming_late_stop(start: Callable[..., Rig], trigger: str) -> None:
    """As over a link that delays everything: each answer is for a state of the past."""
    rig = start(late=4, window=20, trigger=trigger)

    def delay(msg: JointState) -> JointState:
        stamp = msg.header.stamp.sec * NANO + msg.header.stamp.nanosec - 4 * PERIOD_NS
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, NANO)
        return msg

    rig.spin_for(0.3)
    rig.mutate = lambda msg: None
    rig.spin_for(4.5 * rig.robot.period)
    rig.mutate = delay
    assert_stops_within_the_limits(rig, 'DEADLINE')
    answer = rig.call('policy_server/reset')
    assert not answer.success and 'DEADLINE' in answer.message
    rig.mutate = lambda msg: msg
    resume(rig)


def test_ticks_longer_than_the_period_stop(start: Callable[..., Rig]) -> None:
    rig = start(overruns=3, late=0, window=10)
    decide = rig.server._loop.runtime.decide

    def slow(*args: Any) -> Any:
        time.sleep(1.2 * rig.robot.period)
        return decide(*args)

    rig.server._loop.runtime.decide = slow  # type: ignore[method-assign]
    assert_stops_within_the_limits(rig, 'OVERRUN')
    rig.server._loop.runtime.decide = decide  # type: ignore[method-assign]
    resume(rig)


def answering(rig: Rig, cost: float = 0.0) -> Callable[[], None]:
    """Answer every step with its cost from now on; returns what ends that."""
    costs = rig.create_publisher(Float64MultiArray, 'cost_monitor/cost',
                                 QOS['cost_monitor/cost'])

    def answer(msg: Float64MultiArray) -> None:
        codec = ArrayCodec.of_message(msg)
        step = codec.decode(msg)
        costs.publish(COSTS.encode_fields(
            sequence=step['sequence'], episode=step['episode'], valid=1.0, cost=0.0,
            episode_cost=cost))

    ears = rig.create_subscription(Float64MultiArray, 'policy_server/step', answer,
                                   QOS['policy_server/step'])

    def end() -> None:
        rig.destroy_subscription(ears)
        rig.destroy_publisher(costs)

    return end


def test_a_cost_monitor_that_falls_silent_stops_until_one_answers(start: Callable[..., Rig]
                                                                  ) -> None:
    rig = start(cost_monitor='stop', cost_timeout=0.6)
    end = answering(rig)
    rig.spin_for(1.5)
    assert rig.code == ''
    end()
    assert_stops_within_the_limits(rig, 'COST_MONITOR')
    answer = rig.call('policy_server/reset')
    assert not answer.success and 'COST_MONITOR' in answer.message
    answering(rig)  # a new one, that saw none of the steps
    resume(rig)


def test_a_monitor_that_fell_silent_before_another_stop_does_not_hold_the_reset_for_ever(
        start: Callable[..., Rig]) -> None:
    """The first cause is the one that is kept, and the unanswered step is still waited for."""
    rig = start(cost_monitor='stop', cost_timeout=1.0)
    end = answering(rig)
    rig.spin_for(0.5)
    end()
    rig.spin_for(0.2)
    assert rig.call('policy_server/estop').success and rig.code == 'ESTOP'
    rig.spin_for(1.5)
    answer = rig.call('policy_server/reset')
    assert not answer.success and 'COST_MONITOR' in answer.message
    answering(rig)
    resume(rig)


def test_a_gross_cost_of_an_episode_that_is_long_over_stops_nothing(start: Callable[..., Rig]
                                                                    ) -> None:
    """A monitor that is new counts what is sent again, and that moved the arm before."""
    rig = start(max_episode_cost=8.0, episodes=0)
    costs = rig.create_publisher(Float64MultiArray, 'cost_monitor/cost',
                                 QOS['cost_monitor/cost'])
    rig.spin_until(costs.get_subscription_count)
    now = rig.server._loop
    now.episode += 5
    costs.publish(COSTS.encode_fields(sequence=0, episode=now.episode - 2, valid=1.0, cost=0.0,
                                      episode_cost=9.0))
    rig.spin_for(0.4)
    assert rig.code == ''
    costs.publish(COSTS.encode_fields(sequence=0, episode=now.episode - 1, valid=1.0, cost=0.0,
                                      episode_cost=9.0))
    rig.spin_until(lambda: rig.code == 'COST')


def test_a_silent_cost_monitor_is_said_and_stops_nothing_by_default(start: Callable[..., Rig]
                                                                    ) -> None:
    rig = start(cost_timeout=0.3)
    rig.spin_until(lambda: rig.diagnostics
                   and rig.diagnostics[-1].message.startswith('COST_MONITOR'))
    assert rig.code == '' and values_of(rig.diagnostics[-1])['cost_monitor']
    answering(rig)
    rig.spin_until(lambda: not values_of(rig.diagnostics[-1])['cost_monitor'])


def test_a_silent_learner_stops_where_the_parameter_says_so(start: Callable[..., Rig]) -> None:
    rig = start(learner='stop', learner_timeout=1.5)
    reports = rig.create_publisher(Float64MultiArray, 'learner/progress', QOS['learner/progress'])
    codec = ArrayCodec({'received': 1})
    timer = rig.create_timer(0.1, lambda: reports.publish(codec.encode_fields(received=1.0)))
    rig.spin_for(3.0)
    assert rig.code == ''
    timer.cancel()
    assert_stops_within_the_limits(rig, 'LEARNER')
    answer = rig.call('policy_server/reset')
    assert not answer.success and 'LEARNER' in answer.message
    timer.reset()
    rig.spin_for(0.5)
    resume(rig)


def test_a_silent_learner_stops_nothing_by_default(start: Callable[..., Rig]) -> None:
    rig = start(learner_timeout=0.5)
    rig.spin_for(1.5)
    assert rig.code == ''


def test_a_gross_cost_stops_with_its_own_code(start: Callable[..., Rig]) -> None:
    rig = start(max_episode_cost=8.0)
    end = answering(rig, 9.0)
    assert_stops_within_the_limits(rig, 'COST')
    assert float(rig.statuses[-1]['value']) == 9.0 and rig.statuses[-1]['threshold'] == '8'
    assert 'cost of episode 0' in rig.statuses[-1]['text']
    end()
    resume(rig)


def test_a_gross_cost_that_a_restart_lost_is_said_until_it_is_set_again(
        start: Callable[..., Rig], tmp_path: Path) -> None:
    """It was set while running, as ROS 2 parameters are, and nobody may miss it unseen."""
    written: dict[str, bytes] = {}
    before = PersistentState(tmp_path, {'max_episode_cost': 0.0}, put=written.__setitem__)
    before.changed({'max_episode_cost': 8.0}, {'max_episode_cost': 8.0})
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'policy_server.json').write_bytes(written['policy_server.json'])
    rig = start()
    lost = 'max_episode_cost is off, it was 8 before'
    rig.spin_until(lambda: rig.diagnostics and rig.diagnostics[-1].message == lost)
    assert rig.server.set_parameters([Parameter('max_episode_cost', value=9.0)])[0].successful
    rig.spin_until(lambda: rig.diagnostics[-1].message != lost)
    rig.spin_until(lambda: b'9' in (tmp_path / 'run' / 'policy_server.json').read_bytes())


def test_the_gross_cost_can_be_set_while_running(start: Callable[..., Rig]) -> None:
    rig = start()
    answering(rig, 9.0)
    rig.spin_for(0.5)
    assert rig.code == ''
    result = rig.server.set_parameters([Parameter('max_episode_cost', value=8.0)])
    assert result[0].successful
    rig.spin_until(lambda: rig.code == 'COST')


def test_a_cost_of_a_step_that_was_never_published_uses_up_no_stop(start: Callable[..., Rig]
                                                                   ) -> None:
    """One forged message must not make every real cost after it count for nothing."""
    rig = start(max_episode_cost=8.0)
    responder = rig.server._responder
    for sequence, episode in ((2**53, 0), (0, 2**53), (2**53, 2**53)):
        assert not responder.on_cost(sequence, episode, [9.0])
    assert responder.supervisor.latch.stop is None
    assert responder.on_cost(0, 0, [1e6])
    assert responder.supervisor.latch.stop.code == 'COST'
