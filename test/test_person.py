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

"""A person takes over: at the next tick, without a jump, and never by accident."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from spaars_ros.control.control import ControlLoop
from spaars_ros.control.control import Tick
from spaars_ros.control.person import Person
from spaars_ros.data.schema import Mode
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training


@cache
def parts(twist: bool, algorithm: str) -> tuple[Any, ...]:
    robot = load_robot()
    task = ReachTask(robot, load_task())
    if twist:
        from dataclasses import replace

        from spaars_ros.tasks.spec import ActionSpace
        task.spec = replace(task.spec, action=ActionSpace(
            'twist', len(robot.joints), frame='tool', axes=('x', 'y', 'z', 'rz')))
    return robot, task, untrained_bundle(robot, task, load_training(algorithm))


class Hand:
    """A loop with a MuJoCo arm, a person, and time that a test moves."""

    def __init__(self, drive: str = 'policy', twist: bool = False, algorithm: str = 'spaars',
                 explore: bool = True) -> None:
        self.now = 100.0
        robot, task, bundle = parts(twist, algorithm)
        self.person = Person(7, clock=lambda: self.now)
        self.loop = ControlLoop(
            robot=robot, task=task, safety_filter=SafetyFilter(robot), explore=explore,
            runtime=PolicyRuntime(bundle), seed=0, person=self.person, drive=drive)
        self.arm = Arm(robot)
        self.period = robot.period
        self.loop.begin(self.arm.state())
        self.ticks: list[Tick] = []

    def tick(self, count: int = 1) -> dict[str, Any]:
        """Make ticks, each a period later; return the last one's record."""
        for _ in range(count):
            self.ticks.append(self.loop.tick(self.arm.state()))
            self.arm.step(self.ticks[-1].command)
            self.now += self.period
        return self.loop.records.schema.view(self.ticks[-1].record)

    def hold(self, held: bool = True) -> None:
        self.person.switch('joy', held)

    def take(self) -> None:
        self.hold(False)
        self.hold()

    def push(self, *values: float, frame: str = 'base', count: int = 1) -> dict[str, Any]:
        """Ask for a twist for some ticks; return the last one's record."""
        record: dict[str, Any] = {}
        for _ in range(count):
            self.hold()
            self.person.twist(np.array([*values, *[0.0] * (6 - len(values))]), frame)
            record = self.tick()
        return record

    @property
    def tip(self) -> Any:
        return self.loop.kinematics.tip(self.arm.state().position)

    @property
    def jumps(self) -> Any:
        """Return the greatest change of a command against what acceleration allows."""
        commands = np.array([tick.command for tick in self.ticks])
        return np.abs(np.diff(commands, axis=0)) / self.loop.filter.limits.step


@pytest.mark.parametrize('twist', [False, True])
def test_a_person_acts_at_the_next_tick_and_back_again_without_a_jump(twist: bool) -> None:
    hand = Hand(twist=twist)
    assert hand.tick(15)['mode'] != Mode.HUMAN
    hand.take()
    first = hand.push(0.08)
    assert first['mode'] == Mode.HUMAN
    hand.push(0.08, count=14)
    hand.hold(False)
    back = hand.tick()
    assert back['mode'] != Mode.HUMAN
    hand.tick(14)
    assert hand.jumps.max() <= 1.0 + 1e-9
    modes = [hand.loop.records.schema.view(tick.record)['mode'] for tick in hand.ticks]
    assert [mode == Mode.HUMAN for mode in modes] == [False] * 15 + [True] * 15 + [False] * 15
    # The filter had nothing to correct: the reference itself was continuous.
    for tick in hand.ticks[15:31]:
        assert not hand.loop.records.schema.view(tick.record)['intervention']


def test_a_full_stick_that_is_reversed_is_ramped() -> None:
    hand = Hand()
    hand.take()
    hand.push(0.3, count=10)
    hand.push(-0.3, count=10)
    assert hand.jumps.max() <= 1.0 + 1e-9
    assert hand.jumps.max() > 0.3, 'a test that moves nothing shows nothing'


def test_the_tip_goes_where_the_twist_says() -> None:
    hand = Hand(explore=False)
    hand.take()
    before = hand.tip
    hand.push(0.0, 0.05, 0.0, count=30)
    moved = hand.tip - before
    assert moved[1] > 0.03
    assert np.abs(moved[[0, 2]]).max() < 0.1 * moved[1]


def test_a_twist_of_the_tip_is_turned_with_it() -> None:
    hand = Hand(explore=False)
    turn, _ = hand.loop.kinematics.turn_and_jacobian(hand.arm.state().position)
    hand.take()
    before = hand.tip
    hand.push(0.0, 0.0, -0.04, frame='tip', count=25)
    along = (hand.tip - before) @ -turn[:, 2]
    assert along > 0.02
    assert np.linalg.norm(hand.tip - before) == pytest.approx(along, rel=0.1)


def test_joint_velocities_become_the_twist_that_the_task_acts_in() -> None:
    hand = Hand(twist=True, explore=False)
    hand.take()
    hand.person.joint_velocities(np.array([0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0]))
    record = hand.tick()
    turn, jacobian = hand.loop.kinematics.turn_and_jacobian(np.asarray(hand.loop.robot.home))
    wanted = turn.T @ jacobian[:3, 1] * 0.1 / 0.1
    assert record['asked_action'][:3] == pytest.approx(wanted, abs=0.02)


def test_a_command_beyond_the_actions_is_slowed_down_in_its_direction() -> None:
    hand = Hand()
    hand.take()
    hand.person.joint_velocities(np.array([9.0, -4.5, 0.0, 0.0, 0.0, 0.0, 0.0]))
    asked = hand.tick()['asked_action']
    velocity = asked * hand.loop.actuation.scale
    assert np.abs(asked).max() == pytest.approx(1.0)
    assert velocity[0] == pytest.approx(-2.0 * velocity[1])


def test_a_stale_command_brakes_and_the_arm_stays_the_persons() -> None:
    hand = Hand()
    hand.take()
    hand.push(0.1, count=10)
    for _ in range(30):
        hand.hold()
        record = hand.tick()
    assert record['mode'] == Mode.HUMAN
    assert not hand.ticks[-1].command.any()
    assert 'no command' in hand.person.complaint()


def test_a_command_that_is_no_number_brakes_at_once() -> None:
    hand = Hand()
    hand.take()
    hand.push(0.1, count=10)
    moving = np.abs(hand.ticks[-1].command).max()
    hand.person.twist(np.array([np.nan, 0, 0, 0, 0, 0]), 'base')
    hand.tick()
    assert np.abs(hand.ticks[-1].command).max() < moving
    assert 'nan' in hand.person.complaint()


def test_commands_without_a_dead_man_are_ignored_and_named() -> None:
    hand = Hand()
    for _ in range(5):
        hand.person.twist(np.array([0.1, 0, 0, 0, 0, 0]), 'base')
        assert hand.tick()['mode'] != Mode.HUMAN
    assert 'no dead man' in hand.person.complaint()
    hand.take()
    hand.push(0.1, count=3)
    hand.hold(False)
    assert not hand.person.complaint(), 'one that was let go has just come to its end'


def test_a_dead_man_that_was_held_from_the_first_does_not_count_until_it_is_let_go() -> None:
    hand = Hand()
    assert hand.push(0.1, count=3)['mode'] != Mode.HUMAN
    assert 'let it go once' in hand.person.complaint()
    hand.hold(False)
    assert hand.push(0.1)['mode'] == Mode.HUMAN


def test_a_dead_man_that_never_comes_up_is_named() -> None:
    hand = Hand()
    hand.take()
    for _ in range(70):
        hand.hold()
        hand.now += 1.0
    hand.hold()
    assert 'stuck' in hand.person.complaint()


def test_a_joystick_that_is_gone_brakes_then_stops() -> None:
    hand = Hand()
    hand.take()
    hand.push(0.1, count=10)
    hand.now += 1.0
    assert hand.tick()['mode'] == Mode.HUMAN
    hand.tick(20)
    assert not hand.ticks[-1].command.any()
    hand.now += 6.0
    tick = hand.loop.tick(hand.arm.state())
    assert tick.stop is not None and tick.stop.code == 'PERSON_LOST'
    hand.person.forget()
    assert hand.person.stop() is None


def test_either_of_two_switches_holds_the_arm() -> None:
    hand = Hand()
    hand.take()
    hand.person.switch('page', False)
    assert hand.push(0.1)['mode'] == Mode.HUMAN


def test_frames_are_the_base_the_tip_and_those_of_the_model() -> None:
    takeover = Hand().loop.takeover
    assert takeover is not None
    for frame in ('', 'base', 'tip', takeover._kinematics.model.body(3).name):
        assert takeover.knows(frame)
    for frame in ('map', 'x' * 5000, 'é', '\0'):
        assert not takeover.knows(frame)


def test_where_the_person_is_the_policy_nobody_acts_without_one() -> None:
    hand = Hand(drive='person')
    record = hand.tick(3)
    assert record['mode'] == Mode.NONE and not hand.ticks[-1].command.any()
    hand.take()
    assert hand.push(0.1, count=5)['mode'] == Mode.HUMAN
    hand.hold(False)
    record = hand.tick(20)
    assert record['mode'] == Mode.NONE and not hand.ticks[-1].command.any()
    assert hand.jumps.max() <= 1.0 + 1e-9


def test_a_skill_begins_anew_after_a_person() -> None:
    hand = Hand(algorithm='spaars-supe')
    assert hand.tick(3)['skill_step'] == 2
    hand.take()
    assert hand.push(0.05, count=2)['skill_step'] == 0
    hand.hold(False)
    assert hand.tick()['skill_step'] == 0
    assert hand.tick()['skill_step'] == 1


def test_a_gripper_stays_where_it_is_until_a_person_asks() -> None:
    settings = load_task('pick')
    robot = load_robot(settings.robot or 'panda')
    task = make_task(robot, settings)
    person = Person(len(robot.joints), clock=lambda: 0.0)
    loop = ControlLoop(robot=robot, task=task, safety_filter=SafetyFilter(robot), seed=0,
                       runtime=PolicyRuntime(untrained_bundle(robot, task, load_training())),
                       person=person, drive='person')
    assert loop.takeover is not None
    state = Arm(robot).state()
    loop.begin(state)
    person.switch('joy', False)
    person.switch('joy', True)
    assert loop.takeover.choose(np.zeros(task.action_dim), Mode.LATENT, state).action[-1] == -1
    person.channels[0] = 1.0
    assert loop.takeover.choose(np.zeros(task.action_dim), Mode.LATENT, state).action[-1] == 1
    assert loop.takeover.choose(np.zeros(task.action_dim), Mode.LATENT, state).action[-1] == 1
