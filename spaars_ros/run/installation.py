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

"""Check of an installation: imports, shipped files, libraries and environment."""

from collections.abc import Iterator
import ctypes.util
from dataclasses import dataclass
from importlib import import_module
from importlib import metadata
import os
import platform
import shutil

MODULES = {
    'rclpy': '', 'std_msgs.msg': '', 'std_srvs.srv': '', 'sensor_msgs.msg': '',
    'diagnostic_msgs.msg': '', 'lifecycle_msgs.srv': '', 'trajectory_msgs.msg': '',
    'numpy': 'numpy', 'torch': 'torch', 'mujoco': 'mujoco', 'gymnasium': 'gymnasium',
    'onnx': 'onnx', 'onnxruntime': 'onnxruntime', 'h5py': 'h5py', 'matplotlib': 'matplotlib',
    'mcap': 'mcap', 'cryptography': 'cryptography', 'daqp': 'daqp', 'pydantic': 'pydantic',
    'yaml': 'PyYAML', 'rich': 'rich', 'scipy': 'scipy', 'typer': 'typer',
    'zstandard': 'zstandard'}
"""Module -> distribution that provides it, '' for a module of ROS 2."""
VARIABLES = ('ROS_DISTRO', 'ROS_DOMAIN_ID', 'RMW_IMPLEMENTATION', 'ROS_AUTOMATIC_DISCOVERY_RANGE',
             'ROS_STATIC_PEERS', 'ROS_DISCOVERY_SERVER', 'ROS_SUPER_CLIENT', 'ROS_LOCALHOST_ONLY',
             'FASTDDS_BUILTIN_TRANSPORTS', 'MUJOCO_GL')


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    what: str
    ok: bool
    text: str


def findings() -> Iterator[Finding]:
    """Yield the result of each check; optional items always count as ok."""
    yield _package()
    yield Finding('Python', (3, 10) <= tuple(map(int, platform.python_version_tuple()[:2]))
                  <= (3, 13), platform.python_version())
    for module, distribution in MODULES.items():
        yield _imported(module, distribution)
    yield from _shipped()
    libraries = {name: ctypes.util.find_library(name) for name in ('GL', 'EGL', 'OSMesa')}
    yield Finding('GL libraries, for pictures alone', True, ', '.join(
        f'{name} {found or "not there"}' for name, found in libraries.items()))
    compiler = shutil.which('c++') or shutil.which('g++') or shutil.which('clang++')
    yield Finding('C++ compiler, for torch.compile alone', True, compiler or 'not there')
    yield Finding('environment', True, ', '.join(
        f'{name}={os.environ[name]}' for name in VARIABLES if name in os.environ)
        or 'no variable of ROS 2 or MuJoCo is set')


def _package() -> Finding:
    from spaars_ros.robot.files import PACKAGE
    try:
        version = metadata.version('spaars_ros')
    except metadata.PackageNotFoundError:
        version = 'not installed'
    return Finding('spaars_ros', True, f'{version}, {PACKAGE}')


def _imported(module: str, distribution: str) -> Finding:
    try:
        import_module(module)
    except Exception as error:
        # Catch everything: mujoco raises AttributeError when a GL backend is missing.
        text = ' '.join(str(error).split()) or type(error).__name__
        return Finding(module, False, f'{type(error).__name__}: {text[:200]}')
    try:
        return Finding(module, True, metadata.version(distribution) if distribution else 'imports')
    except metadata.PackageNotFoundError:
        return Finding(module, True, 'imports')


def _shipped() -> Iterator[Finding]:
    """Yield whether the files that ship with the package exist and can be loaded."""
    from spaars_ros.robot.config import load_robot
    from spaars_ros.robot.files import share_directory
    from spaars_ros.robot.resources import resolve
    from spaars_ros.tasks.registry import load_task
    from spaars_ros.training_file import load_training
    share = share_directory()
    for what, load in (('robot file panda', lambda: load_robot('panda')),
                       ('task file reach', lambda: load_task('reach')),
                       ('training file spaars', lambda: load_training('spaars'))):
        try:
            load()
        except (ValueError, OSError) as error:
            yield Finding(what, False, str(error))
        else:
            yield Finding(what, True, str(share / 'config'))
    for what, paths in (
            ('launch files', sorted((share / 'launch').glob('*.launch.py'))),
            ('demonstrations', [resolve('package://spaars_ros/data/demonstrations/panda_reach.h5')]
             ), ('package.xml', [share / 'package.xml'])):
        gone = [str(path) for path in paths if not path.is_file()]
        yield Finding(what, bool(paths) and not gone, f'not found: {gone or share}'
                      if gone or not paths else str(paths[0].parent))
