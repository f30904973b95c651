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


"""No model turns a limit off, and no path of a file ends in a traceback or never."""

import os
from pathlib import Path
import warnings

import pytest
import yaml

from spaars_ros.commissioning.robot_file import check_file
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.files import ConfigWarning
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.resources import absolute
from spaars_ros.robot.resources import expanded
from spaars_ros.robot.resources import resolve
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import read_document
from spaars_ros.robot.zones import PREFIX
from spaars_ros.safety.filter import SafetyFilter

MODEL = """<mujoco><compiler angle="radian"/><worldbody>
<body name="upper" pos="0 0 .2"><joint name="pan" axis="0 0 1"/>
 <geom name="shoulder" size=".03" mass="1"/>
 <body name="lower" pos=".3 0 0"><joint name="lift" axis="0 1 0"/>
  <geom name="elbow" size=".03" mass="1"/>
  <body name="hand" pos=".3 0 0"><geom name="palm" size=".03" mass="1"/>
   <site name="tip" pos=".05 0 0"/></body></body></body>
<body name="stand" pos="0 0 1"><site name="mark"/></body></worldbody></mujoco>"""
BALL = {'name': 'ball', 'shape': 'sphere', 'centre': [0.0, 0.5, 0.1], 'radius': 0.1}
WRIST = """<body name="end"><joint name="wrist" {kind} range="-1 1" limited="true"/>
<geom size=".01" mass="1"/><site name="end" pos=".1 0 0"/></body></body></body></body>"""


def arm(folder, model=MODEL, **changes):
    """Write a model and its robot file with changes; return the path."""
    (folder / 'arm.xml').write_text(model)
    content = {
        'name': 'arm', 'model': 'arm.xml', 'joints': ['pan', 'lift'], 'tip': 'tip',
        'home': [0.0, 0.3], 'keep_out': [BALL],
        'limits': {'position': [[-3.0, 3.0], [-2.0, 2.0]], 'velocity': [2.0, 2.0],
                   'torque': [9.0, 9.0]}, **changes}
    (folder / 'arm.yaml').write_text(yaml.safe_dump(content))
    return str(folder / 'arm.yaml')


def test_the_model_that_the_others_are_made_of_is_fine(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        SafetyFilter(load_robot(arm(tmp_path)))


# Numbers of the model

@pytest.mark.parametrize('value', ['nan', 'inf', '-inf', '1e30', '101'])
@pytest.mark.parametrize(('old', 'said'), [
    ('<site name="tip" pos=".05', "pos of site 'tip'"),
    ('<body name="lower" pos=".3', "pos of body 'lower'"),
    ('<geom name="palm" pos=".0', "pos of geom 'palm'"),
    ('<joint name="lift" pos=".0', "pos of joint 'lift'")])
def test_a_model_with_a_number_that_no_comparison_holds_for_is_refused(tmp_path, old, said, value):
    name = old.partition(' pos')[0]
    model = MODEL.replace(name, f'{name} pos="0 0 0"') if old not in MODEL else MODEL
    old = old if old in MODEL else f'{name} pos="0'
    model = model.replace(old, f'{name} pos="{value}')
    with pytest.raises(ConfigError, match=rf'arm\.yaml: model .*arm\.xml: {said} is \['):
        SafetyFilter(load_robot(arm(tmp_path, model)))


@pytest.mark.parametrize('more', ['range="nan nan" limited="true"', 'ref="nan"', 'ref="inf"'])
def test_a_joint_whose_range_or_reference_is_not_finite_is_refused(tmp_path, more):
    model = MODEL.replace('name="lift"', f'name="lift" {more}')
    with pytest.raises(ConfigError, match="joint 'lift' has the range"):
        SafetyFilter(load_robot(arm(tmp_path, model)))


@pytest.mark.parametrize('name', ['ball', 'anything'])
def test_a_geom_that_is_named_as_a_zone_is_refused(tmp_path, name):
    model = MODEL.replace('name="palm"', f'name="{PREFIX}{name}"')
    zone = {**BALL, 'protects': 'arm'}
    with pytest.raises(ConfigError, match=f'geom .{PREFIX}{name}.*rename it'):
        SafetyFilter(load_robot(arm(tmp_path, model, keep_out=[zone])))


# What moves the tip, and what is guarded

@pytest.mark.parametrize('tip', ['mark', 'stand', 'world'])
def test_a_tip_that_no_joint_moves_is_refused(tmp_path, tip):
    with pytest.raises(ConfigError, match=f"tip: no joint of `joints` moves '{tip}'"):
        SafetyFilter(load_robot(arm(tmp_path, tip=tip)))


@pytest.mark.parametrize('kind', ['axis="0 1 0"', 'type="slide" axis="1 0 0"', 'type="ball"'])
def test_a_joint_in_the_chain_of_the_tip_that_is_not_listed_is_named(tmp_path, kind):
    wrist = WRIST.format(kind=kind)
    if 'ball' in kind:
        wrist = wrist.replace('-1 1', '0 1')
    model = MODEL.replace('</body></body></body>', wrist)
    with pytest.warns(ConfigWarning, match="'wrist' of the model moves the tip, but is not list"):
        SafetyFilter(load_robot(arm(tmp_path, model, tip='end')))


def test_a_zone_that_protects_an_arm_without_geoms_is_refused(tmp_path):
    model = MODEL.replace('<geom', '<inertial pos="0 0 0" mass="1" diaginertia=".1 .1 .1"/><!--')
    model = model.replace('mass="1"/>\n <body', 'mass="1"/-->\n <body').replace(
        'mass="1"/>\n  <body', 'mass="1"/-->\n  <body').replace(
        'mass="1"/>\n   <site', 'mass="1"/-->\n   <site')
    with pytest.raises(ConfigError, match='keep_out.ball: protects: arm: the moving links'):
        SafetyFilter(load_robot(arm(tmp_path, model, keep_out=[{**BALL, 'protects': 'arm'}])))
    with pytest.warns(ConfigWarning, match='self_collision: the moving links of the model have'):
        SafetyFilter(load_robot(arm(tmp_path, model)))


def test_a_link_in_its_zone_at_home_is_refused(tmp_path):
    zone = {**BALL, 'centre': [0.3, 0.0, 0.2], 'protects': 'arm'}  # around the elbow
    with pytest.raises(ConfigError, match='at home closer than clearance: ball and elbow: move'):
        SafetyFilter(load_robot(arm(tmp_path, keep_out=[zone])))


def test_a_link_without_colliding_geoms_is_guarded_by_what_it_has(tmp_path):
    """Where the other links had some, it passed through zones."""
    model = MODEL.replace('<geom name="palm"', '<geom name="palm" contype="0" conaffinity="0"')
    made = SafetyFilter(load_robot(arm(tmp_path, model, keep_out=[{**BALL, 'protects': 'arm'}])))
    assert made.cartesian is not None
    assert {'ball and elbow', 'ball and palm'} <= set(made.cartesian.least([0.0, 0.3]))


@pytest.mark.parametrize(('changes', 'said'), [
    ({'keep_out': [{**BALL, 'centre': [0.0, 50.0, 0.1]}]}, 'keep_out.ball: 49.90 m from the fir'),
    ({'tip_offset': [0.0, 0.0, 60.0]}, 'tip_offset: 60 m, longer than the arm'),
    ({'limits': {'position': [[-90, 90], [-3, 3]], 'velocity': [2, 2], 'torque': [9, 9]}},
     'pan: position within 90, velocity 2: this looks like degrees'),
    ({'limits': {'position': [[-3, 3], [-2, 2]], 'velocity': [2, 90], 'torque': [9, 9]}},
     'lift: position within 2, velocity 90: this looks like degrees'),
])
def test_a_number_that_seems_to_be_in_another_unit_is_said_on_loading(tmp_path, changes, said):
    file = arm(tmp_path, **changes)
    with pytest.warns(ConfigWarning, match=said):
        Kinematics(load_robot(file))
    assert sum(said in finding.text for finding in check_file(file)) == 1


# Paths

PATHS = ['~nosuchuser/arm.yaml', 'a' * 300 + '.yaml', 'a/' * 3000 + 'arm.yaml', './loop', './pipe',
         '/dev/zero', './folder']


@pytest.fixture
def odd_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo('pipe')
    Path('loop').symlink_to('loop')
    Path('folder').mkdir()


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path[:20])
def test_a_path_that_leads_to_no_file_is_refused_in_one_line(odd_places, path):
    with pytest.raises(ConfigError) as caught:
        load_robot(path)
    assert path[:12] in str(caught.value) and 'no such file' not in str(caught.value)
    with pytest.raises(ConfigError):
        read_document(expanded(path))


@pytest.mark.parametrize('path', ['~nosuchuser/arm.xml', './loop', './pipe', '/dev/zero', '.'])
def test_a_model_that_is_no_file_is_refused_in_one_line(odd_places, tmp_path, path):
    file = arm(tmp_path)
    Path(file).write_text(Path(file).read_text().replace('arm.xml', path))
    with pytest.raises(ConfigError, match=r'arm\.yaml: model'):
        Kinematics(load_robot(file))


def test_a_file_below_a_file_and_a_pipe_are_said_as_such(odd_places):
    Path('file').write_text('')
    with pytest.raises(ConfigError, match='not a directory'):
        load_robot('file/arm.yaml')
    with pytest.raises(ConfigError, match='a pipe, socket or device'):
        load_robot('./pipe')
    with pytest.raises(ConfigError, match='symbolic links'):
        absolute('loop/arm.yaml')


@pytest.mark.parametrize('name', ['package://this.x/arm.xml', 'package://a.b/arm.xml',
                                  'package:///arm.xml', 'package://__main__/arm.xml',
                                  'package://no such/arm.xml', 'package://sys/arm.xml'])
def test_a_package_that_is_none_is_refused_and_nothing_is_imported(name, capsys):
    with pytest.raises(ConfigError, match='package'):
        resolve(name)
    assert 'Zen' not in capsys.readouterr().out
