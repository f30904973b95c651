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

"""People at a running policy server, over real topics and services."""

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
import numpy as np
import pytest
from sensor_msgs.msg import Joy
from server_rig import Rig
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import String

from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS

pytestmark = pytest.mark.timeout(120)
pytest_plugins = ['server_rig']


class Hand:
    """A person with a joystick, who publishes with every move of the arm."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.held, self.pressed, self.buttons = False, -1, 8
        self.twist: tuple[float, ...] | None = None
        self.frame = 'base'
        self.labels: list[list[float]] = []
        self._twists = rig.create_publisher(TwistStamped, 'teleop/twist', QOS['teleop/twist'])
        self._joy = rig.create_publisher(Joy, 'joy', QOS['joy'])
        self._words = rig.create_publisher(String, 'label', QOS['label'])
        rig.create_subscription(Float64MultiArray, 'policy_server/label',
                                lambda msg: self.labels.append(list(msg.data)),
                                QOS['policy_server/label'])
        rig.create_timer(rig.robot.period, self.speak)
        rig.spin_until(lambda: self._joy.get_subscription_count()
                       and self._twists.get_subscription_count()
                       and self._words.get_subscription_count())
        rig.spin_for(0.2)

    def speak(self) -> None:
        buttons = [0] * self.buttons
        if self.buttons > 4:
            buttons[4] = int(self.held)
        if 0 <= self.pressed < self.buttons:
            buttons[self.pressed] = 1
        self._joy.publish(Joy(axes=[0.0] * 4, buttons=buttons))
        if self.twist is not None:
            msg = TwistStamped()
            msg.header.frame_id = self.frame
            msg.twist.linear.x, msg.twist.linear.y, msg.twist.linear.z = self.twist
            self._twists.publish(msg)

    def say(self, word: str) -> None:
        self._words.publish(String(data=word))

    def modes(self) -> list[Mode]:
        return [Mode(int(step['mode'][0])) for step in self.rig.steps]

    def until_told(self, text: str) -> None:
        """Wait until the diagnostics say something."""
        self.rig.diagnostics.clear()
        self.rig.spin_until(lambda: any(
            text in f'{values_of(each).get("last_refused")} {values_of(each).get("people")}'
            for each in self.rig.diagnostics))


def closing(rig: Rig) -> list[dict[str, Any]]:
    return [step for step in rig.steps if step['flag'][0]]


def test_a_person_takes_over_and_gives_back_without_a_jump(start: Callable[..., Rig]) -> None:
    rig = start()
    hand = Hand(rig)
    hand.held, hand.twist = True, (0.0, 0.1, 0.0)
    rig.spin_until(lambda: hand.modes()[-12:] == [Mode.HUMAN] * 12)
    hand.held = False
    rig.spin_until(lambda: Mode.HUMAN not in hand.modes()[-6:])
    modes = [mode is Mode.HUMAN for mode in hand.modes() if mode is not Mode.NONE]
    assert np.count_nonzero(np.diff(modes)) == 2, 'once there, once back'
    commands = np.array([msg.data for msg in rig.commands])
    step = np.asarray(rig.robot.limits.acceleration) * rig.robot.period
    assert (np.abs(np.diff(commands, axis=0)) <= step + 1e-6).all()
    human = [step for step in rig.steps if step['mode'][0] == Mode.HUMAN]
    assert np.abs(human[-1]['action']).max() > 0.05 and not human[-1]['intervention'][0]


def test_what_cannot_be_obeyed_brakes_and_is_named(start: Callable[..., Rig]) -> None:
    rig = start()
    hand = Hand(rig)
    hand.held, hand.twist = True, (0.0, 0.1, 0.0)
    rig.spin_until(lambda: hand.modes()[-5:] == [Mode.HUMAN] * 5)
    for frame, twist in (('nowhere', (0.1, 0.0, 0.0)), ('base', (float('nan'), 0.0, 0.0))):
        hand.frame, hand.twist = frame, twist
        hand.until_told('UNKNOWN_FRAME' if frame == 'nowhere' else 'NON_FINITE')
        rig.spin_until(lambda: rig.standing)
        assert hand.modes()[-1] is Mode.HUMAN
    hand.twist = None
    hand.until_told('the arm brakes')
    hand.buttons = 3
    hand.until_told('FEWER_BUTTONS')
    assert not rig.code, 'none of it is a stop by itself'


def test_a_person_says_what_an_episode_came_to(start: Callable[..., Rig], tmp_path: Path) -> None:
    rig = start(person_reset='put the cube back')
    hand = Hand(rig)
    answer = rig.call('policy_server/label_success')
    assert answer.success, answer.message
    rig.spin_until(lambda: closing(rig))
    assert closing(rig)[0]['flag'][0] == Flag.PERSON
    assert closing(rig)[0]['outcome'][0] == Outcome.SUCCESS
    # It goes back, then waits for a person, and says what for.
    rig.spin_until(lambda: rig.statuses[-1]['phase'] == 'ASKING', 30.0)
    hand.until_told('put the cube back')
    seen = len(rig.steps)
    rig.spin_for(0.5)
    assert len(rig.steps) == seen and rig.standing
    # Meanwhile somebody thinks again.
    hand.say('discard')
    rig.spin_until(lambda: [0.0, float(Outcome.DISCARDED)] in hand.labels)
    rig.spin_until((tmp_path / 'run' / 'labels.json').exists)
    assert json.loads((tmp_path / 'run' / 'labels.json').read_text()) == {'0': 'discarded'}
    for wrong, why in (('success 99', 'there is no episode 99'), ('great', 'is no label'),
                       ('x' * 500, 'WRONG_SIZE')):
        hand.say(wrong)
        hand.until_told(why)
    hand.pressed = 7  # ready, on the joystick
    rig.spin_until(lambda: rig.steps[-1]['episode'][0] == 1)
    hand.pressed = 2  # failure
    rig.spin_until(lambda: len(closing(rig)) == 2)
    assert closing(rig)[1]['outcome'][0] == Outcome.FAILURE
    assert not rig.call('policy_server/label_ready').success, 'nobody waits while it runs'
    assert len(hand.labels) == 1, 'those of running episodes are in their records'


def test_nobody_who_comes_in_time_is_a_stop(start: Callable[..., Rig]) -> None:
    rig = start(person_reset='put the cube back', person_reset_time=0.5)
    said: list[str] = []
    rig.create_subscription(DiagnosticArray, 'policy_server/status',
                            lambda msg: said.append(msg.status[0].message),
                            QOS['policy_server/status'])
    rig.call('policy_server/label_failure')
    rig.spin_until(lambda: rig.code == 'NOBODY_CAME', 30.0)
    rig.spin_until(lambda: 'NOBODY_CAME' in said[-1])  # and no longer what is to be put back


def test_where_a_person_drives_an_episode_begins_and_ends_with_them(
        start: Callable[..., Rig]) -> None:
    rig = start(active=False, person='drive', horizon=100_000)
    assert rig.server.trigger_configure() and rig.server.trigger_activate()
    hand = Hand(rig)
    rig.spin_until(lambda: rig.statuses and rig.statuses[-1]['phase'] == 'ASKING')
    assert not rig.steps
    hand.held, hand.twist = True, (0.0, -0.1, 0.0)
    rig.spin_until(lambda: len(rig.steps) > 20)
    assert set(hand.modes()) == {Mode.HUMAN}
    hand.held = False
    rig.spin_until(lambda: hand.modes()[-3:] == [Mode.NONE] * 3 and rig.standing)
    rig.call('policy_server/label_success')
    rig.spin_until(lambda: closing(rig))
    rig.spin_until(lambda: rig.statuses[-1]['phase'] == 'ASKING', 30.0)
    hand.held = True
    rig.spin_until(lambda: rig.steps[-1]['episode'][0] == 1)


def test_what_a_hand_led_is_recorded_and_nothing_is_commanded(start: Callable[..., Rig]) -> None:
    rig = start(active=False, person='guide', guide_rest=0.5, horizon=100_000)
    rig.follow = False
    assert rig.server.trigger_configure() and rig.server.trigger_activate()
    rig.spin_until(lambda: rig.statuses and rig.statuses[-1]['phase'] == 'ASKING')
    rig.spin_for(0.3)
    assert not rig.steps
    rig.velocity = 0.2 * np.eye(7)[1]
    rig.spin_until(lambda: len(rig.steps) > 15)
    rig.velocity = np.zeros(7)
    rig.spin_until(lambda: closing(rig), 20.0)
    assert not rig.commands, 'the arm is in its own free-drive'
    assert closing(rig)[0]['flag'][0] == Flag.PERSON
    scale = rig.server._loop.actuation.scale
    led = [step['action'] * scale for step in rig.steps if step['mode'][0] == Mode.HUMAN]
    assert np.median(led, axis=0) == pytest.approx(rig.velocity + 0.2 * np.eye(7)[1], abs=0.02)
    # It stood before it was over: nobody's.
    assert [Mode(int(step['mode'][0])) for step in rig.steps[-4:]] == [Mode.NONE] * 4
    assert not any(step['external_motion'][0] for step in rig.steps)
    assert [int(step['sequence'][0]) for step in rig.steps] == list(range(len(rig.steps)))
    assert [int(step['index'][0]) for step in rig.steps] == list(range(len(rig.steps)))
    rig.velocity = -0.2 * np.eye(7)[1]
    rig.spin_until(lambda: rig.steps[-1]['episode'][0] == 1)
    assert rig.call('policy_server/label_success').success
    rig.spin_until(lambda: len(closing(rig)) == 2)
    assert closing(rig)[1]['outcome'][0] == Outcome.SUCCESS
