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

"""The rules of the code base: who may import what, licence headers, versions, style."""

import ast
from functools import cache
from pathlib import Path
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

import spaars_ros
from spaars_ros.run.sources import source_digest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'spaars_ros'
MODULES = {'.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
           for path in sorted(PACKAGE.rglob('*.py'))}
SOURCES = [path for folder in ('spaars_ros', 'benchmarks', 'launch', 'test', 'examples')
           for path in sorted((ROOT / folder).rglob('*.py'))] + [ROOT / 'setup.py']
ROS_FREE = ('tasks', 'robot', 'policy', 'safety', 'constraints', 'control', 'data', 'sim',
            'learning', 'vision')
TORCH_FREE = ('policy', 'safety', 'control', 'tasks', 'constraints', 'robot', 'vision')

ORDER = ('interrupts', 'checkpoint_files', 'source_code', 'robot', 'data', 'vision', 'constraints',
         'tasks', 'safety', 'policy', 'control', 'training_sections', 'training_file', 'sim',
         'learning', 'ros', 'nodes', 'run', 'commissioning', 'commands', 'cli')
"""Rooms and lone modules, the lower before the higher: a room imports only from lower ones."""

# What package.xml calls the modules that are imported; those of None are pip-only, named there
# in a comment.
ROSDEP = {'cryptography': 'python3-cryptography', 'h5py': 'python3-h5py',
          'matplotlib': 'python3-matplotlib', 'numpy': 'python3-numpy',
          'PIL': 'python3-pil', 'pydantic': 'python3-pydantic', 'rich': 'python3-rich',
          'scipy': 'python3-scipy', 'yaml': 'python3-yaml'}


def imports_of(source: str, module: str = '', package: bool = False) -> set[str]:
    """Return the absolute names of all modules that a source imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = module.split('.')
                parts = parts[:len(parts) - node.level + package]
                base = '.'.join([*parts, *([base] if base else [])])
            found |= {base} | {f'{base}.{alias.name}' for alias in node.names}
    return found


@cache
def direct(module: str) -> frozenset[str]:
    path = MODULES[module]
    return frozenset(imports_of(path.read_text(), module, path.name == '__init__.py'))


def chain_to(module: str, library: str) -> list[str] | None:
    """Return the chain of modules by which `module` imports `library`, or None."""
    seen, queue = {module}, [[module]]
    while queue:
        chain = queue.pop(0)
        for name in sorted(direct(chain[-1])):
            if name.split('.')[0] == library:
                return [*chain, library]
            # Importing a.b.c also runs a and a.b.
            parts = name.split('.')
            for end in range(1, len(parts) + 1):
                parent = '.'.join(parts[:end])
                if parent in MODULES and parent not in seen:
                    seen.add(parent)
                    queue.append([*chain, parent])
    return None


def room(module: str) -> str:
    return (module.split('.') + [''])[1]


def modules_in(rooms: tuple[str, ...]) -> list[str]:
    """Return the modules of some rooms; a room without any fails, it may have been renamed."""
    found = [name for name in MODULES if room(name) in rooms]
    for one in rooms:
        assert any(room(name) == one and name.count('.') > 1 for name in found), \
            f'no module in room {one!r}: renamed? The rules below no longer hold it'
    return found


def test_a_room_that_is_missing_or_empty_is_an_error():
    with pytest.raises(AssertionError, match="room 'renamed'"):
        modules_in(('policy', 'renamed'))
    with pytest.raises(FileNotFoundError, match='renamed: no such room'):
        source_digest(PACKAGE / 'renamed')


def test_import_chains_are_seen_through_relative_and_nested_imports():
    source = 'from . import a\nfrom ..b import c\ndef f():\n    import rclpy.node\n'
    found = imports_of(source, 'spaars_ros.policy.x')
    assert {'spaars_ros.policy.a', 'spaars_ros.b', 'spaars_ros.b.c', 'rclpy.node'} <= found
    config = 'spaars_ros.robot.config'
    assert chain_to(config, 'pydantic') == [config, 'pydantic']


@pytest.mark.parametrize('module', modules_in(ROS_FREE))
def test_ros_free_room_never_imports_rclpy(module):
    for library in ('rclpy', 'std_msgs', 'sensor_msgs', 'diagnostic_msgs'):
        assert chain_to(module, library) is None


@pytest.mark.parametrize('module', modules_in(TORCH_FREE))
def test_control_loop_never_imports_torch(module):
    assert chain_to(module, 'torch') is None


@pytest.mark.parametrize('node', ['policy_server', 'cost_monitor', 'sim', 'encoder'])
def test_only_the_learner_process_imports_torch(node):
    assert chain_to(f'spaars_ros.nodes.{node}.node', 'torch') is None


def upward(modules: dict[str, str]) -> list[str]:
    """Return the imports of `modules` (name: source) that go from a lower room to a higher."""
    found = []
    for module, source in modules.items():
        for name in imports_of(source, module):
            here, there = room(module), room(name)
            if name.startswith('spaars_ros.') and there in ORDER \
                    and ORDER.index(there) > ORDER.index(here):
                found.append(f'{module} imports {name}')
    return found


def test_no_room_imports_from_a_higher_one():
    """No arrow up means no circle among rooms either."""
    assert upward({'spaars_ros.robot.x': 'def f():\n    from spaars_ros.run import job'})
    rooms = {room(name) for name in MODULES} - {''}
    assert rooms == set(ORDER), 'a room that ORDER does not name, or names in vain'
    assert not upward({name: path.read_text() for name, path in MODULES.items()
                       if room(name)})


def test_nodes_hold_no_algorithm():
    """An algorithm in a node shows as matrix algebra or gradients."""
    paths = sorted((PACKAGE / 'nodes').rglob('*.py'))
    assert len(paths) > 4, 'the room of the nodes is empty'
    for path in paths:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.Attribute)}
        assert not names & {'backward', 'einsum', 'matmul', 'linalg', 'svd'}, path.name


OF_TASKS = {'reach', 'insert', 'pick', 'pick_camera', 'insert_camera', 'tip_error', 'ReachTask',
            'InsertTask', 'PickTask', 'PickCameraTask', 'InsertCameraTask'}
"""Words of particular tasks."""
MAY_SAY = {
    # The task of a run that names none, as in 0.1.0.
    'nodes/sim/parameters.py', 'nodes/learner/parameters.py', 'nodes/cost_monitor/parameters.py',
    'nodes/policy_server/parameters.py', 'nodes/encoder/parameters.py', 'run/run_config.py',
    'run/demonstration_set.py', 'run/installation.py', 'sim/environments.py'}
"""Modules that say 'reach', and nothing else of them."""
STRESSED = {'commissioning/stress_faults.py': {'insert', 'pick_camera'}}
"""The tasks that faults of sensors are made in."""


def task_words(source: str) -> set[str]:
    """Return the words of particular tasks that a source uses as text, name or import."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.Name) and node.id.endswith('Task'):
            found.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {name.rpartition('.')[2] for name in imports_of(ast.unparse(node))
                      if name.startswith('spaars_ros.tasks')}
    return found & OF_TASKS


def test_no_other_room_knows_a_word_of_a_particular_task():
    """Or a task of somebody else would be a task of second rank."""
    assert task_words("from spaars_ros.tasks.pick import X\nif a == 'tip_error': pass") \
        == {'pick', 'tip_error'}
    said = {}
    for name, path in MODULES.items():
        if room(name) in ('tasks', ''):
            continue
        words = task_words(path.read_text())
        if words:
            said[str(path.relative_to(PACKAGE))] = words
    assert {name: words for name, words in said.items()
            if words != STRESSED.get(name, {'reach'} if name in MAY_SAY else set())} == {}
    assert set(said) == MAY_SAY | set(STRESSED), 'allowed, and not needed'


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_has_the_licence_header(path):
    header = (PACKAGE / '__init__.py').read_text().split('\n\n')[0]
    assert 'Licensed under the Apache License, Version 2.0' in header
    text = path.read_text()
    assert text.startswith(header) or not text


def test_version_is_the_same_everywhere():
    in_xml = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    in_setup = re.search(r"version='([^']+)'", (ROOT / 'setup.py').read_text())
    assert in_setup and in_setup[1] == in_xml == spaars_ros.__version__
    assert re.search(rf'^{re.escape(in_xml)} \(', (ROOT / 'CHANGELOG.rst').read_text(), re.M)


@pytest.mark.parametrize('path', MODULES.values(), ids=MODULES)
def test_no_print_no_bare_except_no_pickle(path):
    tree = ast.parse(path.read_text())
    calls = {node.func.id for node in ast.walk(tree)
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {'print', 'eval', 'exec'}
    assert not [node.lineno for node in ast.walk(tree)
                if isinstance(node, ast.ExceptHandler) and node.type is None]
    tops = {name.split('.')[0] for name in imports_of(path.read_text())}
    assert not tops & {'pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal'}


def test_torch_load_takes_weights_only():
    """torch.load unpickles otherwise: a checkpoint could run code."""
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == 'torch.load':
                given = {item.arg: ast.unparse(item.value) for item in node.keywords}
                assert given.get('weights_only') == 'True', f'{path.name}:{node.lineno}'
            if isinstance(node, ast.Call) and ast.unparse(node.func) == 'np.load':
                given = {item.arg: ast.unparse(item.value) for item in node.keywords}
                assert given.get('allow_pickle', 'False') == 'False', f'{path.name}:{node.lineno}'


def dependencies() -> set[str]:
    """Return the packages besides Python's own that the package and its launch files import."""
    # Scripts in peers run in environments of their own, which `spaars bench peers` makes.
    imported = {name.split('.')[0] for path in [*MODULES.values(), *ROOT.glob('launch/*.py')]
                if path.parent.name != 'peers'
                for name in imports_of(path.read_text(), 'spaars_ros.x.y')}
    return imported - {*sys.stdlib_module_names, 'spaars_ros', ''}


def test_package_xml_names_every_import():
    text = (ROOT / 'package.xml').read_text()
    declared = {item.text for item in ElementTree.fromstring(text).findall('exec_depend')}
    commented = ' '.join(re.findall(r'<!--(.*?)-->', text, re.S))
    missing = {name for name in dependencies()
               if ROSDEP.get(name, name) not in declared
               and not re.search(rf'\b{name}\b', commented)}
    assert not missing, f'package.xml names none of {sorted(missing)}'


def test_constraints_name_every_import_that_ros_does_not_bring():
    text = (ROOT / 'constraints.txt').read_text()
    section = text.split('# --- direct')[1].split('# ---')[0]
    pinned = set(re.findall(r'^([\w.-]+)==', section.lower(), re.M))
    declared = {item.text for item in ElementTree.parse(ROOT / 'package.xml').iter('exec_depend')}
    distribution = {'PIL': 'pillow', 'yaml': 'pyyaml', 'mcap_ros2': 'mcap-ros2-support'}
    extras = set(re.findall(r"'([\w-]+)[<>=~]", (ROOT / 'setup.py').read_text().replace('-', '_')))
    missing = {name for name in dependencies() - declared - extras
               if distribution.get(name, name) not in pinned}
    assert not missing, f'constraints.txt names none of {sorted(missing)} as direct'


def test_constraints_pin_and_bring_no_cuda():
    pins = (ROOT / 'constraints.txt').read_text().splitlines()
    for line in pins:
        assert not line or line.startswith('#') or re.match(r'^[\w.-]+==[\w.]+(; .+)?$', line)
    assert 'torch==2.13.0' in pins
    assert not [line for line in pins if line.startswith(('nvidia', 'triton', 'cuda'))]


def test_ruff_finds_nothing():
    ruff = shutil.which('ruff', path=str(Path(sys.executable).parent)) or shutil.which('ruff')
    if ruff is None:
        pytest.skip('ruff is not installed')
    result = subprocess.run([ruff, 'check', '--no-cache', '--output-format=concise', str(ROOT)],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
