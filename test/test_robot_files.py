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

"""`spaars robot check` and `spaars robot new`: what they say of files that are right and wrong."""

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

from arms import backwards
from arms import five_joints
from arms import on_a_rail
import pytest
from typer.testing import CliRunner
import yaml

from spaars_ros.cli import app
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics

pytestmark = pytest.mark.filterwarnings('ignore')
URDF = """<robot name="two"><link name="base"/>
<link name="upper"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0"
 iyz="0"/></inertial></link>
<link name="lower"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0"
 iyz="0"/></inertial></link>
<joint name="one" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
 <limit lower="-1.5" upper="1.25" velocity="2.5" effort="30"/></joint>
<joint name="other" type="prismatic"><parent link="upper"/><child link="lower"/>
 <origin xyz="0.3 0 0"/><axis xyz="1 0 0"/>
 <limit lower="0.1" upper="0.4" velocity="0.5" effort="80"/></joint></robot>"""


def run(*arguments: str) -> tuple[int, str, str]:
    """Return the exit code, what is said, and the error."""
    said = CliRunner().invoke(app, ['robot', *arguments])
    assert said.exception is None or isinstance(said.exception, SystemExit), said.exception
    return said.exit_code, said.stdout, said.stderr


def test_the_file_that_ships_is_fine(tmp_path: Path) -> None:
    out = tmp_path / 'findings.json'
    code, said, _ = run('check', 'panda', '--json', str(out))
    assert code == 0 and 'WRONG' not in said
    found = json.loads(out.read_text())['findings']
    assert {'units', 'frame', 'tip', 'targets', 'self_collision', 'keep_out',
            'action_scale'} <= {one['about'] for one in found}
    assert any('the arm reaches 100%' in one['text'] for one in found)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    'degrees': ({'limits': {'position': [[-90, 90]] * 5, 'velocity': [90.0] * 5,
                            'torque': [5.0] * 5}}, 'looks like degrees'),
    'out_of_reach': ({'targets': {'low': [0.6, -0.1, 0.1], 'high': [0.8, 0.1, 0.2]}},
                     'the arm reaches 0%'),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_is_wrong_in_a_file_is_named(name: str, tmp_path: Path) -> None:
    fields, expected = WRONG[name]
    file = five_joints(tmp_path)
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **fields}))
    code, said, error = run('check', str(file))
    assert code == 1 and expected in next(
        line for line in said.splitlines() if line.startswith('WRONG'))
    assert len(error.strip().splitlines()) == 1


LOOK: dict[str, tuple[dict[str, Any], str]] = {
    'no_acceleration': ({}, 'acceleration: not given'),
    'no_zones': ({}, 'no zones and no workspace'),
    'no_range': ({}, 'the model has no range'),
    'zone_at_the_arm': ({'keep_out': [{'name': 'ball', 'shape': 'sphere', 'radius': 0.05,
                                       'centre': [0.0, 0.0, 0.2]}]}, 'at home closer than'),
    'no_effort': ({'effort': 'none'}, 'effort: none'),
    'slow_acceleration': ({'limits': {'position': [[-3, 3]] * 5, 'velocity': [2.0] * 5,
                                      'acceleration': [0.5] * 5, 'torque': [5.0] * 5}},
                          'a policy learns badly on such a limit'),
}


@pytest.mark.parametrize('name', LOOK)
def test_what_a_person_has_to_judge_is_said(name: str, tmp_path: Path) -> None:
    fields, expected = LOOK[name]
    file = five_joints(tmp_path)
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **fields}))
    code, said, _ = run('check', str(file))
    assert code == 0
    assert any(expected in line for line in said.splitlines() if line.startswith('look')), said


def test_a_file_with_the_tip_at_home_in_a_zone_is_one_line(tmp_path: Path) -> None:
    file = five_joints(tmp_path)
    tip = Kinematics(load_robot(str(file))).tip(load_robot(str(file)).home)
    zone = {'name': 'ball', 'shape': 'sphere', 'radius': 0.05, 'centre': tip.tolist()}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), 'keep_out': [zone]}))
    code, _, error = run('check', str(file))
    assert code == 1 and "inside the keep-out zone 'ball'" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize('make', [five_joints, backwards, on_a_rail])
def test_a_first_file_from_a_model_loads_and_passes(make: Callable[[Path], Path],
                                                    tmp_path: Path) -> None:
    joints = yaml.safe_load(make(tmp_path).read_text())['joints']
    file = tmp_path / 'new.yaml'
    code, _, error = run('new', '--mjcf', str(tmp_path / 'arm.xml'), '--out', str(file))
    assert code == 0, error
    robot = load_robot(str(file))
    assert robot.joints == joints and robot.tip == 'tip'
    assert file.read_text().count('LOOK UP') == 3
    assert 'WRONG' not in run('check', str(file))[1]
    code, _, error = run('new', '--mjcf', str(tmp_path / 'arm.xml'), '--out', str(file))
    assert code == 1 and 'is there already' in error


def test_a_first_file_from_a_urdf_has_its_limits(tmp_path: Path) -> None:
    (tmp_path / 'two.urdf').write_text(URDF)
    file = tmp_path / 'two.yaml'
    code, _, error = run('new', '--urdf', str(tmp_path / 'two.urdf'), '--out', str(file))
    assert code == 0, error
    robot = load_robot(str(file))
    assert robot.joints == ['one', 'other'] and robot.tip == 'lower'
    assert robot.limits.position == [(-1.5, 1.25), (0.1, 0.4)]
    assert robot.limits.velocity == [2.5, 0.5] and robot.limits.torque == [30.0, 80.0]
    assert 'LOOK UP' not in file.read_text()


@pytest.mark.parametrize(('text', 'tip', 'expected'), [
    ('<mujoco><worldbody/></mujoco>', '', 'no named site or body'),
    ('<mujoco><worldbody><body name="a"/></worldbody></mujoco>', '', 'no hinge or slide joint'),
    ('<mujoco><worldbody><body name="a"/></worldbody></mujoco>', 'hand', "no site or body 'hand'"),
    ('not XML', '', 'model.xml')])
def test_a_model_that_makes_no_robot_is_one_line(text: str, tip: str, expected: str,
                                                 tmp_path: Path) -> None:
    model = tmp_path / 'model.xml'
    model.write_text(text)
    code, _, error = run('new', '--mjcf', str(model), '--tip', tip, '--out',
                         str(tmp_path / 'new.yaml'))
    assert code == 1 and expected in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / 'new.yaml').exists()
