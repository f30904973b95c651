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

"""Robot, task and training files: every mistake is named by file, field and value."""

from pathlib import Path

import pytest
import yaml

from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import share_directory
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training


@pytest.fixture
def panda():
    return yaml.safe_load((share_directory() / 'config' / 'robot' / 'panda.yaml').read_text())


def load(content, folder):
    path = Path(folder) / 'arm.yaml'
    path.write_text(yaml.safe_dump(content))
    return load_robot(str(path))


def test_an_unknown_robot_file_key_is_named(panda, tmp_path):
    panda['limits']['velocty'] = panda['limits']['velocity']
    with pytest.raises(ConfigError, match=r"arm\.yaml.*unknown key 'limits\.velocty'"):
        load(panda, tmp_path)


def test_a_missing_robot_file_key_is_named(panda, tmp_path):
    del panda['limits']['velocity']
    with pytest.raises(ConfigError, match=r"missing key 'limits\.velocity'"):
        load(panda, tmp_path)


def test_a_limit_too_few_is_named(panda, tmp_path):
    panda['limits']['torque'] = panda['limits']['torque'][:-1]
    with pytest.raises(ConfigError, match=r'limits\.torque has 6 entries for 7 joints'):
        load(panda, tmp_path)


def test_a_limit_that_is_not_a_number_is_named_with_its_value(panda, tmp_path):
    panda['limits']['velocity'][2] = 'fast'
    with pytest.raises(ConfigError, match=r"limits\.velocity\.2.*'fast'"):
        load(panda, tmp_path)


@pytest.mark.parametrize('value', [0.0, -1.0, float('nan')])
def test_a_limit_that_limits_nothing_is_refused(panda, tmp_path, value):
    """A NaN compares false with everything, so it would switch the limit off."""
    panda['limits']['velocity'][1] = value
    with pytest.raises(ConfigError, match=r'limits\.velocity\.1'):
        load(panda, tmp_path)


def test_a_home_outside_the_limits_is_refused(panda, tmp_path):
    panda['home'][3] = 0.5
    with pytest.raises(ConfigError, match='home of panda_joint4: 0.5 is outside'):
        load(panda, tmp_path)


def test_a_joint_that_the_model_lacks_is_named(panda, tmp_path):
    panda['joints'][0] = 'shoulder'
    with pytest.raises(ConfigError, match="no joint 'shoulder'"):
        Kinematics(load(panda, tmp_path))


def test_a_tip_that_the_model_lacks_is_named(panda, tmp_path):
    panda['tip'] = 'gripper'
    with pytest.raises(ConfigError, match="no site or body 'gripper'"):
        Kinematics(load(panda, tmp_path))


def test_a_model_package_that_is_not_installed_is_named(panda, tmp_path):
    panda['model'] = 'package://no_such_arm/arm.xml'
    with pytest.raises(ConfigError, match="'no_such_arm' is not installed"):
        Kinematics(load(panda, tmp_path))


def test_a_file_that_is_not_there_lists_those_that_ship():
    with pytest.raises(ConfigError, match=r"'pandaa'.*'panda'"):
        load_robot('pandaa')


def test_a_folder_of_that_name_does_not_hide_the_file_that_ships(tmp_path, monkeypatch):
    """A workspace often has a checkout named like the package's training file."""
    (tmp_path / 'spaars').mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_training('spaars').algorithm == 'spaars'


def test_a_file_that_is_not_yaml_is_named(tmp_path):
    (tmp_path / 'broken.yaml').write_text('a: [1, 2')
    with pytest.raises(ConfigError, match=r'broken\.yaml:1: not YAML'):
        load_task(str(tmp_path / 'broken.yaml'))


def test_a_training_constant_out_of_range_is_named_with_its_value():
    with pytest.raises(ConfigError, match=r'gamma: .*\(value 1\.5\)'):
        load_training('spaars', gamma=1.5)


@pytest.mark.parametrize('path', sorted((share_directory() / 'config').glob('*/*.yaml')),
                         ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_every_file_that_ships_loads(path):
    {'robot': load_robot, 'task': load_task, 'training': load_training}[path.parent.name](
        str(path))
