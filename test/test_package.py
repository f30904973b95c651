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

"""Packaging: what a wheel carries, what `./run` says when it cannot go on, the robot files."""

import ast
import configparser
import importlib
from importlib.util import find_spec
import os
from pathlib import Path
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from spaars_ros.robot.config import Box
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Constraint
from spaars_ros.robot.config import Control
from spaars_ros.robot.config import Cylinder
from spaars_ros.robot.config import Limits
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import share_directory
from spaars_ros.robot.config import Sphere
from spaars_ros.robot.config import Targets
from spaars_ros.robot.config import Workspace
from spaars_ros.robot.sources import Apply
from spaars_ros.robot.sources import Camera
from spaars_ros.robot.sources import Source
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.base import GivenSuccess
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.insert import InsertSettings
from spaars_ros.tasks.pick import PickSettings
from spaars_ros.tasks.reach import ReachSettings
from spaars_ros.tasks.stages import StagesSettings
from spaars_ros.training_file import Training
from spaars_ros.training_sections import section_of
from spaars_ros.training_sections import SECTIONS

ROOT = Path(__file__).resolve().parent.parent
PACKAGING = ('run', 'constraints.txt', 'setup.py', 'setup.cfg')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel of a copy of the checkout, built without a network."""
    if find_spec('setuptools') is None:
        pytest.skip('setuptools is not installed')
    folder = tmp_path_factory.mktemp('wheel')
    ignore = shutil.ignore_patterns('.venv*', '.git', 'build', 'install', 'runs', '*.egg-info',
                                    '__pycache__', '.*_cache')
    shutil.copytree(ROOT, folder / 'source', ignore=ignore)
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-index',
                    '--no-build-isolation', '-w', str(folder), str(folder / 'source')],
                   check=True, timeout=120, capture_output=True,
                   env={key: value for key, value in os.environ.items() if key != 'PYTHONPATH'})
    with zipfile.ZipFile(next(folder.glob('*.whl'))) as archive:
        yield archive


def names(archive):
    return {name.split('/data/', 1)[-1] if '.data/' in name else name
            for name in archive.namelist()}


def test_wheel_carries_everything_that_the_checkout_has(wheel):
    carried = names(wheel)
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / 'spaars_ros').rglob('*.py')}
    for pattern in ('sim/models/*', 'data/demonstrations/*', 'vision/encoders/*'):
        expected |= {str(path.relative_to(ROOT)) for path in (ROOT / 'spaars_ros').glob(pattern)}
    for pattern in ('launch/*.launch.py', 'config/*/*.yaml', 'config/*/*.xml'):
        expected |= {f'share/spaars_ros/{path.relative_to(ROOT)}' for path in ROOT.glob(pattern)}
    expected |= {'share/ament_index/resource_index/packages/spaars_ros',
                 'share/spaars_ros/package.xml', 'spaars_ros/py.typed'}
    assert not expected - carried
    assert [name for name in carried if name.startswith('share/spaars_ros/launch/')]
    assert not [name for name in carried if name.startswith('test')]


def test_every_console_script_has_its_function(wheel):
    text = next(wheel.read(name).decode() for name in wheel.namelist()
                if name.endswith('entry_points.txt'))
    parser = configparser.ConfigParser()
    parser.read_string(text)
    scripts = dict(parser['console_scripts'])
    assert set(scripts) == {'spaars', 'policy_server', 'cost_monitor', 'learner', 'sim',
                            'encoder', 'conductor'}
    for target in scripts.values():
        module, function = target.split(':')
        path = ROOT / (module.replace('.', '/') + '.py')
        # As setuptools looks it up: a function, or a name bound in the module.
        tree = ast.parse(path.read_text())
        bound = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        bound |= {name.id for node in tree.body if isinstance(node, ast.Assign)
                  for name in node.targets if isinstance(name, ast.Name)}
        assert function in bound, target


def checkout(folder, *, python3, **environment):
    """Lay out a checkout where `python3` is this shell script; return how to call its `./run`."""
    programs = folder / 'bin'
    programs.mkdir(parents=True)
    for name in ('bash', 'env', 'dirname', 'sha256sum', 'cat', 'flock', 'grep'):
        (programs / name).symlink_to(shutil.which(name))
    (programs / 'python3').write_text(f'#!/bin/bash\n{python3}\n')
    (programs / 'python3').chmod(0o755)
    for name in PACKAGING:
        shutil.copy(ROOT / name, folder / name)

    def call():
        return subprocess.run(
            [str(folder / 'run'), 'setup'], capture_output=True, text=True, timeout=30,
            env={'HOME': str(folder), 'PATH': str(programs), **environment})
    return call


def fresh_checkout(folder, **how):
    """Run `./run setup` where nothing of ours is."""
    result = checkout(folder, **how)()
    assert not [path.name for path in folder.glob('.venv*')]
    return result


REAL = f'exec {os.path.realpath(sys.executable)} "$@"'


def test_missing_venv_module_gets_the_apt_line(tmp_path):
    python3 = f'[[ "$*" == *ensurepip* ]] && exit 1; {REAL}'
    result = fresh_checkout(tmp_path, python3=python3)
    version = f'{sys.version_info.major}.{sys.version_info.minor}'
    assert result.returncode == 1
    assert f'sudo apt install python{version}-venv' in result.stderr
    assert 'Traceback' not in result.stderr


def test_too_old_a_python_gets_one_clear_line(tmp_path):
    result = fresh_checkout(tmp_path, python3='exit 1')
    assert result.returncode == 1
    assert 'Python 3.10 to 3.13 is needed' in result.stderr.splitlines()[-1]


def test_sourced_ros_without_rclpy_says_what_to_install(tmp_path):
    python3 = f'[[ "$*" == *rclpy* ]] && exit 1; {REAL}'
    result = fresh_checkout(tmp_path, python3=python3, ROS_DISTRO='jazzy',
                            AMENT_PREFIX_PATH='/opt/ros/jazzy')
    assert result.returncode == 1
    assert 'sudo apt install ros-jazzy-rclpy' in result.stderr.splitlines()[-1]


def test_changed_constraints_are_not_taken_for_set_up(tmp_path):
    """A stamp of other constraints must not let an outdated environment start a robot."""
    call = checkout(tmp_path, python3='exit 1')
    interpreter = tmp_path / '.venv' / 'bin' / 'python'
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text('#!/bin/bash\nexit 1\n')
    interpreter.chmod(0o755)
    stamp = subprocess.run(
        f'{{ echo "{tmp_path} "; cat {" ".join(PACKAGING)}; }} | sha256sum', shell=True,
        cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    (tmp_path / '.venv' / '.set_up').write_text(stamp)
    assert call().returncode == 0
    with open(tmp_path / 'constraints.txt', 'a') as file:
        file.write('# another line\n')
    result = call()
    assert result.returncode == 1
    assert 'setting up' in result.stderr


def parameter_page():
    """Return docs/reference/parameters.md as the nodes' declarations make it."""
    text = ['# Parameters', '',
            'Parameters of every node: default, range, unit and meaning. This page is generated '
            'from the declarations of the nodes; `ros2 param describe` shows the same text. Live '
            'parameters can be set while the node runs (`ros2 param set`); all others are '
            'read-only.']
    for name in ('policy_server', 'cost_monitor', 'learner', 'sim', 'encoder'):
        table = importlib.import_module(f'spaars_ros.nodes.{name}.node').PARAMETERS
        text += ['', f'## {name}', '', table.markdown()]
    return '\n'.join(text) + '\n'


def test_parameter_page_says_what_the_nodes_declare():
    path = ROOT / 'docs' / 'reference' / 'parameters.md'
    if os.environ.get('UPDATE_DOCS'):
        path.write_text(parameter_page())
    assert path.read_text() == parameter_page(), 'UPDATE_DOCS=1 ./run test test/test_package.py'


def file_page():
    text = ['# Files', '',
            'All keys of robot, task and training files: default, range and meaning. This page is '
            'generated from the classes that check the files: `spaars_ros/robot/config.py`, '
            '`spaars_ros/training_file.py`, and the class of the task. An unknown key is an '
            'error.', '',
            '`robot/strict_yaml.py` reads every YAML file, including ROS 2 parameter files:', '',
            '- UTF-8; size, depth and aliases are bounded.',
            '- Duplicate keys, tags and merge keys are errors.',
            '- Numbers and booleans are those of YAML 1.2: `yes`, `020` and `1:20` are text.',
            '- An error message names file, line, field and value.', '',
            'A bare name (`--robot panda`) is a shipped file; a name with a folder or a suffix is '
            'a path. A run copies its files into its folder and uses the copies. If a file has '
            'changed since, `--resume` names the changed fields and ends.', '',
            'Any training key can be set on the command line: `spaars finetune --set utd=1`. In '
            'the file, a key of one family of algorithms can be in its section (`spar_sigma: 0.3` '
            'indented under `spar:`) or, as in files of 0.1.0, at the top level.',
            '', '## Base frame', '',
            'The base frame is always the world frame of the MJCF model of the robot file. Zones, '
            'workspace, targets, tips and twists with `frame: base` are in this frame. If the '
            'model moves or rotates the base body of the arm, the zones stay in the world frame; '
            '`spaars robot check` shows where the first joint is in it.']
    sections = {section: f'Training file: section {section}' for section in SECTIONS}
    for title, model in (('Training file', Training),
                         *((title, Training) for title in sections.values()),
                         ('Task file: every task', TaskSettings),
                         ('Task file: reach', ReachSettings),
                         ('Task file: insert', InsertSettings),
                         ('Task file: pick', PickSettings),
                         ('Task file: stages', StagesSettings),
                         ('Task and robot file: sources', Source),
                         ('Task and robot file: sources, apply', Apply),
                         ('Task and robot file: sources, camera', Camera),
                         ('Task file: success', GivenSuccess),
                         ('Robot file', Robot), ('Robot file: limits', Limits),
                         ('Robot file: control', Control),
                         ('Robot file: keep_out, shape: sphere', Sphere),
                         ('Robot file: keep_out, shape: cylinder', Cylinder),
                         ('Robot file: keep_out, shape: box', Box),
                         ('Robot file: workspace', Workspace),
                         ('Robot file: targets', Targets),
                         ('Robot file: constraints', Constraint)):
        text += ['', f'## {title}', '', '| key | default | range | meaning |', '|---|---|---|---|']
        for name, field in model.model_fields.items():
            if name == 'source' and model is Robot:
                continue
            if model is Training and sections.get(section_of(name), 'Training file') != title:
                continue
            signs = {'ge': '>=', 'gt': '>', 'le': '<=', 'lt': '<'}
            bounds = [f'{sign} {getattr(item, key):.10g}' for item in field.metadata
                      for key, sign in signs.items() if hasattr(item, key)]
            default = '' if field.is_required() else f'`{field.default!r}`'
            if hasattr(field.default, 'model_dump'):
                default = 'see below'
            text.append(f'| `{name}` | {default} | {", ".join(bounds)} | '
                        f'{(field.description or "").replace("|", "&#124;")} |')
    return '\n'.join(text) + '\n'


def test_file_page_says_what_the_models_declare():
    path = ROOT / 'docs' / 'reference' / 'files.md'
    if os.environ.get('UPDATE_DOCS'):
        path.write_text(file_page())
    assert path.read_text() == file_page(), 'UPDATE_DOCS=1 ./run test test/test_package.py'


@pytest.mark.parametrize('path', sorted((ROOT / 'config' / 'robot').glob('*.yaml')),
                         ids=lambda path: path.stem)
def test_shipped_robot_file_is_valid_and_has_the_file_name_as_name(path):
    assert load_robot(str(path)).name == path.stem


def test_share_directory_of_the_checkout_has_the_shipped_files():
    assert (share_directory() / 'config' / 'robot' / 'panda.yaml').exists()
    assert (share_directory() / 'package.xml').exists()


def test_model_in_a_package_that_is_not_installed_is_named():
    robot = load_robot('panda').model_copy(update={'model': 'package://no_such_arms/arm.xml'})
    with pytest.raises(ConfigError, match="'no_such_arms' is not installed"):
        Arm(robot)


def test_panda_modelled_by_somebody_else_follows_joint_velocities():
    if find_spec('gym_hil') is None:
        pytest.skip('gym_hil is not installed: pip install --no-deps gym-hil==0.1.14')
    robot = load_robot('panda_gym_hil')
    arm = Arm(robot)
    own = Arm(load_robot('panda'))
    # Same arm, another tool: the flange-to-tip distance differs, the joint axes do not.
    np.testing.assert_allclose(arm.tip()[:2], own.tip()[:2], atol=0.05)
    command = np.array([0.3, -0.2, 0.1, 0.2, -0.3, 0.4, 0.5])
    for _ in range(20):
        arm.step(command)
    state = arm.state()
    np.testing.assert_allclose(state.velocity, command, atol=0.05)
    np.testing.assert_allclose(state.position, robot.home + command, atol=0.05)
    assert np.all(np.abs(state.effort) <= robot.limits.torque)
    for _ in range(20):
        arm.step(np.zeros(7))
    held = arm.state().position
    for _ in range(40):
        arm.step(np.zeros(7))
    np.testing.assert_allclose(arm.state().position, held, atol=2e-3)
