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

"""Policies and demonstrations say what an action and a tick mean: a difference is refused."""

import json
from pathlib import Path

import pytest
import yaml

from spaars_ros.data.dataset import DatasetError
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.dataset import save_dataset
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.resources import resolve
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.continuation import continue_run
from spaars_ros.run.folder import RunError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.run_config import RunConfig
from spaars_ros.sim.operator import collect
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training

ROBOT = load_robot()
TASK = ReachTask(ROBOT, load_task())
SHIPPED = resolve(load_training().demonstrations)


def other_robot(folder, change):
    content = yaml.safe_load(Path(ROBOT.source).read_text())
    change(content)
    (folder / 'arm.yaml').write_text(yaml.safe_dump(content))
    return load_robot(str(folder / 'arm.yaml'))


def set_to(section, name, value):
    return lambda content: (content[section] if section else content).update({name: value})


ACTIONS = {
    'rate was 20.0, here it is 50.0': set_to('control', 'rate', 50.0),
    'velocity.0 was 2.175, here it is 1.0': set_to('limits', 'velocity', [1.0] * 7),
    "tip was 'tool_tip', here it is 'hand'": set_to('', 'tip', 'hand'),
    'tip_offset.2 was 0.0, here it is 0.1': set_to('', 'tip_offset', [0.0, 0.0, 0.1]),
}
OTHERS = {
    'acceleration.0 was 15.0, here it is 30.0': set_to('limits', 'acceleration', [30.0] * 7),
    'position.0.0 was -2.8973, here it is -3.0': set_to('limits', 'position', [
        [-3.0, 2.8973], [-1.7628, 1.7628], [-2.8973, 2.8973], [-3.0718, -0.0698],
        [-2.8973, 2.8973], [-0.0175, 3.7525], [-2.8973, 2.8973]]),
    'keep_out.post was': set_to('', 'keep_out', []),
    'keep_out.post.radius was 0.06, here it is 0.05': set_to('', 'keep_out', [
        {'name': 'post', 'shape': 'cylinder', 'centre': [0.46, 0.0, 0.4], 'radius': 0.05,
         'height': 0.8}]),
}


@pytest.fixture(scope='module')
def bundle():
    return Bundle.from_bytes(untrained_bundle(
        ROBOT, TASK, load_training('spaars', width=16), seed=3).to_bytes())


def check(bundle, robot, names=TASK.observation_names):
    return check_bundle(bundle, robot, task='reach', observation_dim=TASK.observation_dim,
                        observation_names=names)


@pytest.mark.parametrize('said', [*ACTIONS, *OTHERS])
def test_a_policy_is_refused_where_an_action_means_something_else(bundle, tmp_path, said):
    with pytest.raises(BundleError) as caught:
        check(bundle, other_robot(tmp_path, {**ACTIONS, **OTHERS}[said]))
    assert caught.value.reason == 'wrong_contract'
    assert said in caught.value.detail


def test_a_policy_is_refused_by_a_task_that_observes_something_else(bundle):
    names = [*TASK.observation_names]
    names[0], names[1] = names[1], names[0]
    with pytest.raises(BundleError, match="observation_names.0 was 'panda_joint1.position'"):
        check(bundle, ROBOT, names)


def test_a_policy_is_taken_where_zones_were_added(bundle, tmp_path):
    check(bundle, ROBOT)
    check(bundle, other_robot(tmp_path, lambda content: content['keep_out'].append(
        {'name': 'lamp', 'shape': 'sphere', 'centre': [0.0, 0.9, 0.9], 'radius': 0.1})))
    check(bundle, other_robot(tmp_path, set_to(
        '', 'workspace', {'low': [-2, -2, -2], 'high': [2, 2, 2]})))


def test_a_policy_of_0_1_0_says_less_and_is_taken(bundle, tmp_path):
    old = Bundle(bundle.manifest.model_copy(update={'contract': None}), bundle.graphs,
                 bundle.golden_outputs)
    check(Bundle.from_bytes(old.to_bytes()), other_robot(tmp_path, set_to('control', 'rate', 50)))


@pytest.mark.parametrize('said', ACTIONS)
def test_demonstrations_are_refused_where_an_action_means_something_else(tmp_path, said):
    with pytest.raises(DatasetError) as caught:
        load_dataset(SHIPPED, other_robot(tmp_path, ACTIONS[said]), TASK)
    assert said in str(caught.value)


@pytest.mark.parametrize('said', OTHERS)
def test_demonstrations_are_taken_under_other_limits_and_zones(tmp_path, said):
    load_dataset(SHIPPED, other_robot(tmp_path, OTHERS[said]), TASK)


def test_collected_demonstrations_say_what_they_are_and_those_of_0_1_0_are_taken(tmp_path):
    data = collect(ROBOT, load_task(), episodes=1, seed=0)
    fast = other_robot(tmp_path, set_to('control', 'rate', 50.0))
    save_dataset(data, tmp_path / 'new.h5')
    with pytest.raises(DatasetError, match=r'rate was 20\.0, here it is 50\.0'):
        load_dataset(tmp_path / 'new.h5', fast, TASK)
    del data.attributes['contract']
    save_dataset(data, tmp_path / 'old.h5')
    load_dataset(tmp_path / 'old.h5', fast, TASK)
    for wrong in ('{', '[]', '{"rate": NaN}', 7):
        data.attributes['contract'] = wrong
        save_dataset(data, tmp_path / 'wrong.h5')
        with pytest.raises(DatasetError, match='attribute contract'):
            load_dataset(tmp_path / 'wrong.h5', ROBOT, TASK)


# A run goes on with the files that it began with

@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Return the folder of a run of `arm.yaml`, which ships as panda, and a parameter file."""
    monkeypatch.chdir(tmp_path)
    Path('arm.yaml').write_text(Path(ROBOT.source).read_text())
    Path('own.yaml').write_text(Path(load_training_path()).read_text())
    Path('params.yaml').write_text('cost_monitor: {ros__parameters: {stop_cost: 5.0}}')
    folder = RunFolder(RunConfig(
        out=str(tmp_path / 'run'), robot='arm.yaml', training='own.yaml',
        overrides={'utd': 1.5}, params_file=str(tmp_path / 'params.yaml')))
    claimed(folder)
    return tmp_path / 'run'


def claimed(folder, resume=False):
    lock = folder.claim(resume)
    folder.begin()
    lock.release()
    return folder


def load_training_path():
    return Path(ROBOT.source).parents[1] / 'training' / 'spaars.yaml'


def test_a_run_goes_on_from_elsewhere_with_its_own_copies(begun, tmp_path, monkeypatch):
    for name in ('arm.yaml', 'own.yaml', 'params.yaml'):
        Path(name).unlink()
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    Path('arm.yaml').write_text('name: of another arm')
    folder = claimed(RunFolder.resume(str(begun)), resume=True)
    assert folder.robot.model_dump(exclude={'source'}) == ROBOT.model_dump(exclude={'source'})
    assert folder.training.utd == 1.5
    settings = continue_run(RunSettings(), folder)
    assert settings.robot == str(begun / 'robot.yaml')
    assert settings.task == str(begun / 'task.yaml')
    assert 'stop_cost' in Path(settings.params_file).read_text()
    assert RunFolder.resume(str(begun)).options.robot == str(tmp_path / 'arm.yaml')


@pytest.mark.parametrize('said', [*ACTIONS, *OTHERS])
@pytest.mark.parametrize('name', ['arm.yaml', 'run/robot.yaml'])
def test_a_robot_file_that_was_changed_since_is_named_on_resume(begun, name, said):
    content = yaml.safe_load(Path(name).read_text())
    {**ACTIONS, **OTHERS}[said](content)
    Path(name).write_text(yaml.safe_dump(content))
    with pytest.raises(RunError, match=r'has changed since the run began.*restore it') as caught:
        RunFolder.resume(str(begun))
    # A zone is one of a list in the file, and may be said as a whole.
    assert said in str(caught.value) or 'keep_out' in str(caught.value)


def test_the_other_files_that_were_changed_since_are_named_on_resume(begun):
    task = yaml.safe_load((begun / 'task.yaml').read_text())
    (begun / 'task.yaml').write_text(yaml.safe_dump({**task, 'horizon': 50}))
    with pytest.raises(RunError, match='horizon was 100, here it is 50'):
        RunFolder.resume(str(begun))
    (begun / 'task.yaml').write_text(yaml.safe_dump(task))
    own = Path('own.yaml').read_text()
    Path('own.yaml').write_text(own + '\ngamma: 0.5\n' if 'gamma' not in own else '')
    with pytest.raises(RunError, match=r'own\.yaml has changed.*gamma was'):
        RunFolder.resume(str(begun))
    Path('own.yaml').write_text(own)
    Path('params.yaml').write_text('cost_monitor: {ros__parameters: {stop_cost: 50.0}}')
    with pytest.raises(RunError, match=r'params\.yaml has changed.*name it again'):
        RunFolder.resume(str(begun))
    given = str(Path('params.yaml').resolve())
    folder = claimed(RunFolder.resume(str(begun), params_file=given), resume=True)
    assert '50.0' in Path(folder.files['params_file']).read_text()


def test_a_model_that_was_changed_since_is_named_on_resume(begun, tmp_path):
    model = tmp_path / 'arm.xml'
    model.write_text(ROBOT.model_path.read_text())
    content = yaml.safe_load(Path('arm.yaml').read_text())
    Path('arm.yaml').write_text(yaml.safe_dump({**content, 'model': 'arm.xml'}))
    claimed(RunFolder(RunConfig(out='other', robot='arm.yaml')))
    RunFolder.resume('other')
    model.write_text(model.read_text() + '\n')
    with pytest.raises(RunError, match='the model has changed since the run began'):
        RunFolder.resume('other')


def test_a_run_of_0_1_0_goes_on_unless_its_robot_file_was_changed(begun):
    """It kept no copies, but config.json has what the files said."""
    for name in ('robot.yaml', 'task.yaml'):
        (begun / name).unlink()
    config = json.loads((begun / 'config.json').read_text())
    del config['model_digest']
    config['options']['robot'] = 'arm.yaml'
    (begun / 'config.json').write_text(json.dumps(config))
    claimed(RunFolder.resume(str(begun)), resume=True)
    assert (begun / 'robot.yaml').exists()
    (begun / 'robot.yaml').unlink()
    Path('arm.yaml').write_text(Path('arm.yaml').read_text().replace('rate: 20.0', 'rate: 50.0'))
    with pytest.raises(RunError, match=r'control\.rate was 20\.0, here it is 50\.0'):
        RunFolder.resume(str(begun))
