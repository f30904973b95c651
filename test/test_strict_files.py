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

"""No file turns a limit off: strict YAML, ranges, unique names, files that ship by bare name."""

from pathlib import Path
import time
import warnings

import numpy as np
import pytest
import yaml

from spaars_ros.commands.common import overrides_of
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import ACCELERATION_TIME
from spaars_ros.robot.config import Constraint
from spaars_ros.robot.config import Control
from spaars_ros.robot.config import JERK_TIME
from spaars_ros.robot.config import Limits
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import share_directory
from spaars_ros.robot.config import Sphere
from spaars_ros.robot.files import ConfigWarning
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import MAX_BYTES
from spaars_ros.robot.strict_yaml import parse
from spaars_ros.robot.zones import zone_distance
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.faults import FaultScript
from spaars_ros.tasks.reach import ReachSettings
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training
from spaars_ros.training_file import Training

PANDA = (share_directory() / 'config' / 'robot' / 'panda.yaml').read_text()


def robot_with(folder, **changes):
    """Write the shipped robot file with dotted keys changed; return its path."""
    content = yaml.safe_load(PANDA)
    for name, value in changes.items():
        at, *path = name.split('__')
        section = content
        for part in path:
            section = section[at]
            at = part
        section[at] = value
    file = folder / 'arm.yaml'
    file.write_text(yaml.safe_dump(content))
    return str(file)


# Strict YAML

@pytest.mark.parametrize(('text', 'said'), [
    (b'a: 1\nb: 2\na: 3', "f:3: 'a' is there twice, first in line 1"),
    (b'a:\n  b: 1\n  b: 2', "f:3: 'a.b' is there twice"),
    (b'a:\n- {b: 1, b: 2}', "f:2: 'a.0.b' is there twice"),
    (b'"a": 1\na: 2', "'a' is there twice"),
    (b'1: 2', 'f:1: key 1 of the file is no string'),
    (b'a: {true: 2}', "key true of 'a' is no string"),
    (b'~: 2', 'key ~ of the file is no string'),
    (b'? [a]\n: 2', 'is no string'),
    (b'a: &x {b: 1}\nc:\n  <<: *x', 'f:3: merge keys'),
    (b'a: !!python/object/apply:os.system [ls]', 'f:1: a tag'),
    (b'a: !!float "1"', 'a tag'),
    (b'a: ! x', 'a tag'),
    (b'a: 1\n---\nb: 2', 'f:2: not YAML: but found another document'),
    ('a: 1\r\n# note\u2028b: 2'.encode(), 'f:2: character U+2028'),
    ('# note\x85a: 1'.encode(), 'f:1: character U+0085'),
    (b'a: \xe9', 'f:1: byte 0xe9 is not UTF-8'),
    ('a: 1'.encode('utf-16'), 'is not UTF-8'),
    (b'a: \x00', 'not YAML'),
    (b'a: "\\0"', 'f:1: character U+0000'),
    (b'a: "x\\ny"', 'character U+000A'),
    (b'a: "\\ud800"', 'character U+D800'),
    (b'a: "\\Uffffffff"', 'not YAML'),
    (b'a:\n\tb: 1', 'f:2: not YAML'),
    (b'a: *b', "not YAML: found undefined alias 'b'"),
    (b'a: [1', 'not YAML'),
    (b'a: &x [*x]', 'nested deeper'),
    (b'[' * 5000, 'nested deeper'),
    (b'{a: ' * 5000, 'nested deeper'),
    (b'- ' * 5000, 'nested deeper'),
    (b'a: [' + b'1,' * 30_000 + b']', 'values'),
    (b'a: "' + b'x' * MAX_BYTES + b'"', 'larger than'),
    (b'a: &a [' + b'x,' * 9 + b'x]\n' + b''.join(
        b'%c: &%c [%s]\n' % (i + 1, i + 1, b','.join([b'*%c' % i] * 9))
        for i in range(97, 105)), 'values, aliases counted as often as used'),
], ids=lambda value: value[:24] if isinstance(value, bytes) else '')
def test_yaml_that_says_two_things_or_never_ends_is_refused_in_one_line(text, said):
    began = time.process_time()
    with pytest.raises(ConfigError) as caught:
        parse(text, 'f')
    assert said in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    assert time.process_time() - began < 5.0


def test_scalars_are_those_of_yaml_1_2():
    text = b'[1e-3, 12e3, yes, on, NO, 020, "1", 1:20, 1_000, 0x1F, 0o17, -5, 2., .5, ~, True, y]'
    assert parse(text, 'f').content == [
        1e-3, 12e3, 'yes', 'on', 'NO', '020', '1', '1:20', '1_000', 31, 15, -5, 2.0, 0.5, None,
        True, 'y']


def test_a_byte_order_mark_and_windows_line_ends_are_read():
    assert parse(b'\xef\xbb\xbfa: 1\r\nb: [2]\r\n', 'f').content == {'a': 1, 'b': [2]}


@pytest.mark.parametrize('text', ['', '---', '# nothing', '- name: panda', '3', 'panda'])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / 'arm.yaml').write_text(text)
    with pytest.raises(ConfigError, match='expected a mapping'):
        load_robot(str(tmp_path / 'arm.yaml'))


def test_a_name_that_looks_like_a_number_stays_what_is_written(tmp_path):
    names = ['12e3', '1', '0x10', '1.50', '.5', '7', '8']
    file = tmp_path / 'arm.yaml'
    joints = PANDA.index('joints:')
    file.write_text(PANDA[:joints].replace('name: panda', 'name: 12e3')
                    + f'joints: [{", ".join(names)}]\n' + PANDA[PANDA.index('tip:'):])
    robot = load_robot(str(file))
    assert (robot.name, robot.joints) == ('12e3', names)


def test_set_on_the_command_line_is_read_as_a_file_is():
    assert overrides_of(['utd=1e-1', 'plateau=yes']) == {'utd': 0.1, 'plateau': 'yes'}
    for pair in ('utd=[1', 'utd=!!float 1', 'utd=&a [*a]'):
        with pytest.raises(ConfigError, match='--set utd'):
            overrides_of([pair])
    with pytest.raises(ConfigError, match='plateau: Input should be a valid boolean'):
        load_training('spaars', **overrides_of(['plateau=yes']))


def test_a_fault_script_is_read_as_every_other_file(tmp_path):
    script = tmp_path / 'faults.yaml'
    for text in ('- {at: 1, at: 2, set: {drop: 0.5}}', '- {at: .inf, set: {drop: 0.5}}',
                 '- {at: 1, for: .nan, set: {drop: 0.5}}', '- {at: yes, set: {drop: 0.5}}'):
        script.write_text(text)
        with pytest.raises(ConfigError, match=r'faults\.yaml'):
            FaultScript(script)


# Ranges

MODELS = (Training, ReachSettings, Robot, Limits, Control, Sphere, Constraint)


@pytest.mark.parametrize(('model', 'name'), [
    (model, name) for model in MODELS for name in model.model_fields], ids=str)
def test_every_number_of_a_file_has_a_lowest_and_a_highest_value(model, name):
    def bounds(schema):
        if schema.get('type') in ('number', 'integer'):
            assert {'minimum', 'exclusiveMinimum'} & schema.keys(), schema
            assert {'maximum', 'exclusiveMaximum'} & schema.keys(), schema
        for part in [*schema.get('anyOf', []), *schema.get('prefixItems', []),
                     *([schema['items']] if isinstance(schema.get('items'), dict) else [])]:
            bounds(part)
    bounds(model.model_json_schema()['properties'][name])


WRONG = [float('nan'), float('inf'), -float('inf'), 1e160, -1e160, 1e-320, True, '0.1', None, [],
         {}]
NUMBERS = ['limits__velocity', 'limits__acceleration', 'limits__jerk', 'limits__torque', 'home',
           'tip_offset', 'limits__margin', 'control__rate', 'control__action_scale',
           'control__delay', 'zone_margin', 'near_zone', 'near_speed', 'clearance', 'radius',
           'height', 'centre', 'size', 'workspace', 'limit', 'position']


@pytest.mark.parametrize('name', NUMBERS)
@pytest.mark.parametrize('value', WRONG, ids=repr)
def test_what_is_no_number_in_its_range_is_refused_by_field(tmp_path, name, value):
    allowed_small = ('home', 'tip_offset', 'limits__margin', 'zone_margin', 'near_zone', 'centre',
                     'limit', 'workspace', 'position')
    if value == 1e-320 and name in allowed_small:
        pytest.skip('a small number is one of the range')
    zone = {'name': 'z', 'shape': 'cylinder', 'centre': [3.0, 0.0, 0.0], 'radius': 0.1,
            'height': 0.1}
    if name in ('radius', 'height'):
        changes = {'keep_out': [{**zone, name: value}]}
    elif name == 'centre':
        changes = {'keep_out': [{**zone, name: [0.0, value, 3.0]}]}
    elif name == 'size':
        changes = {'keep_out': [{'name': 'z', 'shape': 'box', 'centre': [3.0, 0.0, 0.0],
                                 'size': [0.1, 0.1, value]}]}
    elif name == 'workspace':
        changes = {'workspace': {'low': [-2.0, -2.0, value], 'high': [2.0, 2.0, 2.0]}}
    elif name == 'limit':
        changes = {'constraints': [{'name': 'c', 'terms': ['torque'], 'limit': value}]}
    elif name == 'position':
        changes = {'limits__position': [[-2.9, value]] + [[-2.9, 3.8]] * 6}
    elif name in ('home', 'tip_offset') or name.startswith('limits__') and 'margin' not in name:
        count = 3 if name == 'tip_offset' else 7
        changes = {name: [0.5] * (count - 1) + [value]}
    else:
        changes = {name: value}
    with pytest.raises(ConfigError, match=rf'arm\.yaml:\d+: .*{name.split("__")[-1]}'):
        load_robot(robot_with(tmp_path, **changes))


@pytest.mark.parametrize('value', [0, 0.0, -0.1])
@pytest.mark.parametrize('name', ['radius', 'height'])
def test_a_zone_without_room_inside_is_refused(tmp_path, name, value):
    zone = {'name': 'z', 'shape': 'cylinder', 'centre': [3, 0, 0], 'radius': 1, 'height': 1}
    with pytest.raises(ConfigError, match=rf'keep_out\.0\.{name}'):
        load_robot(robot_with(tmp_path, keep_out=[{**zone, name: value}]))


@pytest.mark.parametrize(('name', 'value'), [
    ('horizon', 1), ('horizon', 10.5), ('horizon', True), ('hold', 500), ('tolerance', 0),
    ('tolerance', float('nan')), ('start_noise', float('inf')), ('target_low', [9, 0, 0.3]),
    ('target_high', [0.6, float('nan'), 0.4]), ('target_low', [0.5, 0]), ('name', None)])
def test_a_task_file_that_says_what_nobody_can_mean_is_refused(tmp_path, name, value):
    shipped = yaml.safe_load((share_directory() / 'config/task/reach.yaml').read_text())
    (tmp_path / 'task.yaml').write_text(yaml.safe_dump({**shipped, name: value}))
    with pytest.raises(ConfigError, match=rf'task\.yaml:\d+: {name}'):
        load_task(str(tmp_path / 'task.yaml'))


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 1e300, True, '1', [1]], ids=repr)
@pytest.mark.parametrize('name', ['utd', 'kl_weight', 'width', 'gamma', 'explore_kappa', 'batch'])
def test_a_training_constant_that_is_no_number_in_its_range_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf'spaars\.yaml: {name}: '):
        load_training('spaars', **{name: value})


def test_an_unknown_key_is_named_with_the_nearest_right_one(tmp_path):
    with pytest.raises(ConfigError, match="'limits.velocty'.* did you mean 'velocity'"):
        load_robot(robot_with(tmp_path, limits__velocty=[1.0] * 7))
    with pytest.raises(ConfigError, match="'clearence'.* did you mean 'clearance'"):
        load_robot(robot_with(tmp_path, clearence=0.01))
    with pytest.raises(ConfigError, match="unknown key 'source'"):
        load_robot(robot_with(tmp_path, source='/elsewhere.yaml'))


# Names

@pytest.mark.parametrize(('changes', 'said'), [
    ({'joints': [f'panda_joint{i}' for i in (1, 2, 3, 4, 5, 6, 6)]}, "joints: 'panda_joint6'"),
    ({'keep_out': [{'name': 'z', 'shape': 'sphere', 'centre': [3, 0, 0], 'radius': 0.1}] * 2},
     "keep_out: 'z'"),
    ({'constraints': [{'name': 'c', 'terms': ['torque'], 'limit': 1}] * 2}, "constraints: 'c'"),
    ({'constraints': [{'name': 'c', 'terms': [], 'limit': 1}]}, 'constraints.0.terms'),
    ({'constraints': [{'name': 'c', 'terms': ['torque', 'torque'], 'limit': 1}]}, 'terms of c'),
    ({'limits__acceleration': []}, 'limits.acceleration has 0 entries'),
])
def test_a_name_twice_or_nothing_to_limit_is_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError) as caught:
        load_robot(robot_with(tmp_path, **changes))
    assert said in str(caught.value)


# Defaults

def test_accelerations_left_out_come_from_the_joint_speeds(tmp_path):
    content = yaml.safe_load(PANDA)
    del content['limits']['acceleration'], content['limits']['jerk']
    (tmp_path / 'arm.yaml').write_text(yaml.safe_dump(content))
    limits = load_robot(str(tmp_path / 'arm.yaml')).limits
    assert np.allclose(limits.acceleration, np.array(limits.velocity) / ACCELERATION_TIME)
    assert np.allclose(limits.jerk, np.array(limits.acceleration) / JERK_TIME)


# Model, home and targets

BOOM = """<mujoco><compiler angle="radian" autolimits="true"/><worldbody>
<body name="turret" pos="0 0 .3"><inertial pos="0 0 0" mass="2" diaginertia=".02 .02 .02"/>
 <joint name="turn" axis="0 0 1" range="-3 3"/>
 <body name="boom" pos=".1 0 0"><inertial pos="0 0 0" mass="1" diaginertia=".01 .01 .01"/>
  <joint name="extend" type="slide" axis="1 0 0"{range}/>
  <site name="tool" pos=".1 0 0"/>{more}</body></body></worldbody></mujoco>"""


def boom(folder, more='', reach='', joints=('turn', 'extend'), high=1.0):
    """Write a slewing arm with a boom that extends, and a ball in its way; return the path."""
    (folder / 'boom.xml').write_text(BOOM.format(more=more, range=reach))
    both = {'turn': (-1.5, [-3.0, 3.0], 1.0, 5.0), 'extend': (0.9, [0.0, high], 0.3, 2.0)}
    home, position, velocity, acceleration = zip(*(both[joint] for joint in joints))
    (folder / 'boom.yaml').write_text(yaml.safe_dump({
        'name': 'boom', 'model': 'boom.xml', 'joints': list(joints), 'tip': 'tool',
        'home': list(home), 'self_collision': False,
        'limits': {'position': list(position), 'velocity': list(velocity),
                   'acceleration': list(acceleration), 'torque': [50.0] * len(joints)},
        'keep_out': [{'name': 'ball', 'shape': 'sphere', 'centre': [1.1, 0.0, 0.3],
                      'radius': 0.15}]}))
    return str(folder / 'boom.yaml')


def test_a_slide_without_a_range_in_the_model_reaches_as_far_as_the_robot_file_says(tmp_path):
    robot = load_robot(boom(tmp_path))
    safety, kinematics = SafetyFilter(robot), Kinematics(robot)
    position, velocity, least = np.array(robot.home), np.zeros(2), np.inf
    safety.reset(RobotState(0, position, velocity, velocity))
    for tick in range(60):
        state = RobotState(1 + tick * 50_000_000, position, velocity, np.zeros(2))
        velocity = safety.apply(np.array([1.0, 0.1]), state).command
        position = position + robot.period * velocity
        least = min(least, float(zone_distance(robot.keep_out[0],
                                               kinematics.tip(position)[None])[0]))
    assert 0.0 < least < 0.1


def test_a_robot_file_wider_than_the_model_is_named(tmp_path):
    with pytest.warns(ConfigWarning, match=r'limits.position of extend: \[0, 1\] is wider than'):
        Kinematics(load_robot(boom(tmp_path, reach=' range="0 .95"')))
    with warnings.catch_warnings():
        warnings.simplefilter('error', ConfigWarning)
        Kinematics(load_robot(boom(tmp_path, reach=' range="0 .9999"')))


def test_a_joint_that_nobody_lists_and_nothing_limits_is_named(tmp_path):
    with pytest.raises(ConfigError, match="'extend' of the model moves the tip, but is not"):
        Kinematics(load_robot(boom(tmp_path, joints=('turn',))))
    finger = ('<body name="finger"><inertial pos="0 0 0" mass="1" diaginertia=".1 .1 .1"/>'
              '<joint name="finger" axis="0 1 0"/></body>')
    with pytest.warns(ConfigWarning, match="'finger' of the model is not listed and has no range"):
        Kinematics(load_robot(boom(tmp_path, more=finger)))


@pytest.mark.parametrize('changes', [
    {'workspace': {'low': [1, 1, 1], 'high': [2, 2, 2]}},
    {'keep_out': [{'name': 'here', 'shape': 'sphere', 'centre': [0.0, 0.0, 0.0], 'radius': 5}]},
])
def test_a_home_where_the_tip_may_not_be_is_said_on_loading(tmp_path, changes):
    robot = load_robot(robot_with(tmp_path, **changes))
    with pytest.raises(ConfigError, match='home: the tip is (inside|outside)'):
        SafetyFilter(robot)
    with pytest.raises(ConfigError, match='home: the tip is (inside|outside)'):
        ReachTask(robot, load_task())


@pytest.mark.parametrize(('changes', 'low', 'high', 'said'), [
    ({}, [3, 3, 3], [4, 4, 4], 'out of reach'),
    ({}, [0.44, -0.02, 0.3], [0.48, 0.02, 0.4], "keep-out zone 'post'"),
    ({'workspace': {'low': [0.2, -0.5, 0.2], 'high': [0.7, 0.5, 0.9]}}, [0.1, 0, 0], [0.15, 0, 0],
     'outside the workspace'),
])
def test_targets_that_all_cannot_be_reached_are_said_on_loading(tmp_path, changes, low, high,
                                                                said):
    robot = load_robot(robot_with(tmp_path, **changes))
    settings = load_task().model_copy(update={'target_low': low, 'target_high': high})
    with pytest.raises(ConfigError, match=f'target_low, target_high: .*{said}'):
        ReachTask(robot, settings)


def test_an_action_scale_that_the_acceleration_cannot_follow_is_said_on_loading(tmp_path):
    robot = load_robot(robot_with(tmp_path, limits__acceleration=[0.5] * 7))
    with pytest.warns(ConfigWarning, match='control.action_scale 0.25: panda_joint5 takes 26.1'):
        Kinematics(robot)


@pytest.mark.parametrize('name', ['panda', 'panda_table'])
def test_the_robots_that_ship_are_loaded_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter('error', ConfigWarning)
        Kinematics(load_robot(name))


# Files that ship

@pytest.mark.parametrize('name', ['/no/such/dir/panda', './panda', 'panda.yaml', 'sub/panda.yaml',
                                  '../panda', 'panda.yml', 'PANDA.YAML'])
def test_a_path_without_a_file_is_not_the_file_that_ships(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match='no such file.*panda'):
        load_robot(name)


def test_a_bare_name_is_the_file_that_ships_and_says_what_it_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('panda.yaml').write_text(PANDA.replace('rate: 20.0', 'rate: 50.0'))
    with pytest.warns(ConfigWarning, match=r'not \./panda\.yaml'):
        assert load_robot('panda').control.rate == 20.0
    assert load_robot('panda.yaml').control.rate == load_robot('./panda.yaml').control.rate == 50.0
    Path('mine').write_text(PANDA)
    with pytest.raises(ConfigError, match=r'there is \./mine: write \./ before it'):
        load_robot('mine')


@pytest.mark.parametrize('text', ['', '<mujoco><worldbody><body><joint/>', '<mujoco/>', '\x00',
                                  '<mujoco><worldbody><geom size="1"/></worldbody></mujoco>'])
def test_a_model_that_cannot_be_used_is_one_line_with_both_files(tmp_path, text):
    (tmp_path / 'arm.xml').write_text(text)
    with pytest.raises(ConfigError, match=r'arm\.yaml: .*arm\.xml') as caught:
        Kinematics(load_robot(robot_with(tmp_path, model='arm.xml')))
    assert str(caught.value).isprintable()
