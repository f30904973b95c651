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

"""`spaars record`: a person at a keyboard, in a terminal, makes demonstrations to learn from."""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import signal
import subprocess
import time
from typing import Any

from domains import DOMAINS
import numpy as np
import pytest
import rclpy
from sensor_msgs.msg import Joy
from small_run import prepare
from small_run import until
from terminal import PATIENT
from terminal import SPAARS
from terminal import Terminal

from spaars_ros.data.demonstrations import load_demonstrations
from spaars_ros.data.demonstrations import run_steps
from spaars_ros.data.labels import read_labels
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.qos import QOS
from spaars_ros.run.teleop import Keys
from spaars_ros.run.teleop import split_keys
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task

pytestmark = pytest.mark.timeout(150)


def test_keys_are_twists_while_they_repeat() -> None:
    keys = Keys()
    keys.press('w', 10.0)
    assert keys.twist(10.3)[0] > 0 and keys.buttons(10.3)[4] == 1
    assert not any(keys.twist(11.0)) and keys.buttons(11.0)[4] == 0
    keys.press('\x1b[D', 20.0)
    keys.press(' ', 20.1)
    assert not keys.held(20.1)
    keys.press('\r', 30.0)
    assert keys.buttons(30.1)[3] == 1 and keys.buttons(30.4)[3] == 0
    keys.press('t', 31.0)
    assert keys.frame == 'tip'
    for _ in range(9):
        keys.press('+', 31.0)
    keys.press('O', 32.0)
    assert keys.twist(32.0)[5] == -1.0
    assert not keys.done
    keys.press('q', 33.0)
    assert keys.done


def test_arrows_are_three_characters() -> None:
    assert split_keys('w\x1b[Aq') == ['w', '\x1b[A', 'q']


@pytest.fixture(scope='module')
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, str]]:
    """Return the folders of the small training and of a recording, and what it said."""
    folder = tmp_path_factory.mktemp('record')
    small = prepare(folder / 'small')
    domain = str(next(DOMAINS))
    env = {**os.environ, 'ROS_DOMAIN_ID': domain, 'PYTHONUNBUFFERED': '1',
           'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    out = folder / 'run'
    steps = out / 'spool' / 'steps.f64'
    (folder / 'params.yaml').write_text(PATIENT)
    run = Terminal('record', '--out', str(out), '--task', str(small / 'task.yaml'), '--episodes',
                   '2', '--json', str(folder / 'summary.json'), '--params-file',
                   str(folder / 'params.yaml'), env=env, log=folder / 'run.log')
    teleop = Terminal('teleop', '--domain', domain, env=env, log=folder / 'teleop.log')
    try:
        until(lambda: "hold a dead man's switch" in run.text, 60.0, run.text)
        until(lambda: 'released' in teleop.text, 30.0, teleop.text)
        # As a person does: the key is held until the arm moves.
        until(lambda: teleop.type('a', 0.3) or steps.exists() and steps.stat().st_size > 0, 30.0,
              run.text)
        teleop.type('a', 1.5)
        teleop.type('w', 0.5)
        time.sleep(1.0)
        teleop.type('\r')
        until(lambda: 'episode 0: success' in run.text, 30.0, run.text)
        teleop.type('s', 1.0)
        teleop.type('z')
        until(lambda: 'episode 1: discarded' in run.text, 30.0, run.text)
        assert run.process.wait(60) == 0, run.text
    finally:
        teleop.type('q')
        assert teleop.process.wait(30) == 0, teleop.text
        run.end()
    yield small, out, run.text


def test_a_person_at_the_keyboard_makes_demonstrations(recorded: tuple[Path, Path, str]) -> None:
    small, out, text = recorded
    schema, rows = run_steps(out)
    modes = schema.get(rows, 'mode')
    assert np.count_nonzero(modes == Mode.HUMAN) > 30
    assert np.count_nonzero(modes == Mode.NONE) > 5, 'the pause before the label'
    assert not np.isin(modes, (Mode.LATENT, Mode.RAW)).any()
    assert read_labels(out) == {}, 'both were said while the episodes ran'
    ends = rows[schema.get(rows, 'flag') > 0]
    assert schema.get(ends, 'outcome').tolist() == [Outcome.SUCCESS, Outcome.DISCARDED]
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['outcomes'] == {'success': 1, 'discarded': 1}
    assert json.loads((out.parent / 'summary.json').read_text())['episodes'] == 2
    assert 'spaars pretrain --demonstrations' in text


def test_the_run_folder_is_a_set_of_demonstrations(recorded: tuple[Path, Path, str]) -> None:
    small, out, _ = recorded
    robot = load_robot()
    task = ReachTask(robot, load_task(str(small / 'task.yaml')))
    data = load_demonstrations(out, robot, task)
    assert len(data) > 20 and data.terminations.sum() == 1
    moved = np.abs(data.actions).max(axis=1)
    assert (moved > 0).all(), 'no pause is in it'
    policy = out.parent / 'policy.spaars'
    done = subprocess.run(
        [*SPAARS, 'pretrain', '--out', str(policy), '--demonstrations', str(out), '--task',
         str(small / 'task.yaml'), *(part for name in ('cvae_steps', 'iql_steps', 'align_steps')
                                     for part in ('--set', f'{name}=5'))],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert policy.exists()


def test_teleop_without_a_terminal_says_so() -> None:
    done = subprocess.run([*SPAARS, 'teleop'], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == 'error: teleop reads the keyboard: start it in a terminal'


def test_a_teleop_that_is_killed_lets_the_switch_go(tmp_path: Path) -> None:
    """A closed terminal must not leave the arm to a switch that stays held."""
    domain = next(DOMAINS)
    env = {**os.environ, 'ROS_DOMAIN_ID': str(domain)}
    heard: list[Any] = []
    rclpy.init(domain_id=domain)
    try:
        node = rclpy.create_node('ear')
        node.create_subscription(Joy, 'joy', heard.append, QOS['joy'])
        teleop = Terminal('teleop', env=env, log=tmp_path / 'teleop.log')
        end = time.monotonic() + 30.0
        while not any(msg.buttons[4] for msg in heard) and time.monotonic() < end:
            teleop.type('w')
            rclpy.spin_once(node, timeout_sec=0.05)
        assert heard and heard[-1].buttons[4]
        teleop.process.send_signal(signal.SIGTERM)
        assert teleop.process.wait(30) == 0
        for _ in range(50):
            rclpy.spin_once(node, timeout_sec=0.02)
        assert not heard[-1].buttons[4]
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
