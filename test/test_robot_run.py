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


"""`spaars finetune --no-sim` on an arm that somebody else runs: a simulation in real time."""

from pathlib import Path

from domains import DOMAINS
from finetune_run import Run
import pytest
from small_run import prepare
from small_run import until

from spaars_ros.commissioning.check import WiringNode
from spaars_ros.commissioning.simulated import simulated_arm
from spaars_ros.robot.config import load_robot
from spaars_ros.run.check_record import record_path
from spaars_ros.run.check_record import save_record

pytestmark = pytest.mark.timeout(180)
pytest_plugins = ['finetune_run']


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small training, its demonstrations and its bundle."""
    return prepare(tmp_path_factory.mktemp('small'))


def test_before_and_after_are_measured_on_the_robot(
        small: Path, tmp_path: Path, runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation in MuJoCo was shown as the robot's, of a task that MuJoCo does not know."""
    domain = str(next(DOMAINS))
    monkeypatch.setenv('ROS_DOMAIN_ID', domain)
    monkeypatch.chdir(tmp_path)
    robot = load_robot('panda')
    save_record({'passed': True, 'simulated': False}, record_path(robot))
    beside = WiringNode(robot)
    try:
        with simulated_arm(beside, tmp_path, {}):
            run = Run(small, tmp_path / 'run', '--no-sim', '--episodes', '4',
                      ROS_DOMAIN_ID=domain)
            runs.append(run)
            until(lambda: run.process.poll() is not None, 120.0, run.text)
    finally:
        beside.close()
    assert run.wait() == 0, run.text
    summary = run.summary()
    assert summary['measured_on'] == 'robot' and summary['episodes'] == 4
    assert summary['episodes_before'] >= 1 and summary['episodes_after'] == 1
    assert summary['return_before'] < 0.0 and summary['return_after'] < 0.0
    assert summary['tip_error_before'] > 0.0
    assert not (run.out / 'evaluation_before.json').exists()
    assert 'on the robot, exploring: ' in run.text and 'evaluating' not in run.text
    assert (run.out / 'check.json').exists()
