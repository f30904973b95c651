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


"""A run and a check of the wiring know the whole model: what it includes, and its meshes."""

import hashlib
import os
from pathlib import Path

import pytest

from spaars_ros.data.labels import read_labels
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import Spool
from spaars_ros.data.spool_format import Layout
from spaars_ros.data.spool_format import scan_spool
from spaars_ros.nodes.policy_server.persistent_state import BOUNDS
from spaars_ros.nodes.policy_server.persistent_state import PersistentState
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.resources import read_file
from spaars_ros.run.check_record import record_path
from spaars_ros.run.check_record import robot_digest
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.model_files import digest_of_model
from spaars_ros.run.model_files import files_of
from spaars_ros.run.model_files import is_same_model

SCENE = '<mujoco><include file="parts/arm.xml"/><compiler meshdir="meshes"/></mujoco>'
ARM = """<mujoco><asset><mesh name="link" file='link.stl'/><texture file="skin.png"/>
<include file="scene.xml"/></asset></mujoco>"""


@pytest.fixture
def scene(tmp_path):
    """A model with an included file, a mesh and a picture; the files name each other in turn."""
    for name, text in (('scene.xml', SCENE), ('parts/arm.xml', ARM), ('meshes/link.stl', 'solid'),
                       ('meshes/skin.png', 'pink'), ('other.xml', '<mujoco/>')):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / 'scene.xml'


def test_the_files_of_a_model_are_those_that_it_names_in_any_depth(scene):
    assert [file.name for file in files_of(scene)] == ['scene.xml', 'arm.xml', 'link.stl']


@pytest.mark.parametrize(('name', 'same'), [
    ('scene.xml', False), ('parts/arm.xml', False), ('meshes/link.stl', False),
    ('meshes/skin.png', True), ('other.xml', True)])
def test_a_change_of_what_a_model_includes_is_a_change_of_the_model(scene, name, same):
    before = digest_of_model(scene)
    assert is_same_model(scene, before)
    (scene.parent / name).write_text((scene.parent / name).read_text() + ' ')
    assert is_same_model(scene, before) is same


def test_the_digest_that_0_1_0_wrote_is_still_that_of_the_model(scene):
    assert is_same_model(scene, hashlib.sha256(scene.read_bytes()).hexdigest())


@pytest.mark.parametrize('text', ['file="\0"', f'file="{"a" * 400}"', 'file="loop"', 'file="."',
                                  'file="/dev/zero"', 'file="pipe"'])
def test_a_name_that_is_no_file_is_no_part_of_a_model(tmp_path, text):
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'arm.xml').write_text(text)
    assert files_of(tmp_path / 'arm.xml') == [tmp_path / 'arm.xml']
    assert digest_of_model(tmp_path / 'none.xml') == ''


def test_a_check_of_the_wiring_is_of_the_whole_model(scene, tmp_path):
    robot = load_robot().model_copy(update={'model': str(scene)})
    before = robot_digest(robot)
    (scene.parent / 'parts/arm.xml').write_text(ARM + ' ')
    assert robot_digest(robot) != before


@pytest.mark.parametrize('name', ['../../etc/arm', '/etc/arm', 'a' * 200, 'my arm', 'ärm'])
def test_no_name_of_a_robot_leads_to_another_folder(name):
    path = record_path(load_robot().model_copy(update={'name': name}), Path('checks'))
    assert path.parent == Path('checks') and len(path.name) < 150


@pytest.mark.parametrize('name', ['config.json', 'spool/layout.json', 'spool/steps.f64',
                                  'labels.json', 'cost_monitor.json', 'policy_server.json'])
def test_a_pipe_in_place_of_a_file_of_a_run_is_said_and_not_waited_for(tmp_path, name):
    readers = {'config.json': lambda: RunFolder.resume(str(tmp_path)),
               'spool/layout.json': lambda: Layout.read(tmp_path / 'spool'),
               'spool/steps.f64': lambda: scan_spool(tmp_path / 'spool'),
               'labels.json': lambda: read_labels(tmp_path),
               'cost_monitor.json': lambda: read_file(tmp_path / name),
               'policy_server.json': lambda: PersistentState(
                   tmp_path, dict.fromkeys(BOUNDS, 1.0), put=lambda file, data: None)}
    schema = StepSchema(observation=3, latent=2, action=2, joints=2)
    Spool(tmp_path / 'spool', schema).close()
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises((ValueError, OSError)):
        readers[name]()
