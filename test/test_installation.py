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

"""The package as others install it: from a source archive, from a wheel, in any place."""

import os
from pathlib import Path
import shutil
import subprocess
import sys
import tarfile

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.timeout(240)


def ran(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=200,
                          env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def installed(source: Path, *where: str) -> None:
    """Install without its dependencies, which are this environment's, and without a network."""
    ran(sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet',
        '--no-deps', '--no-index', '--no-build-isolation', '--no-compile', '--ignore-installed',
        *where, str(source), cwd=source.parent)


@pytest.fixture(scope='module')
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a source archive, built of a copy of this checkout."""
    copy = tmp_path_factory.mktemp('source') / 'spaars_ros'
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(
        '.*', 'runs', 'build', 'dist', '__pycache__', '*.egg-info', 'docs', 'test', 'benchmarks'))
    ran(sys.executable, 'setup.py', '--quiet', 'sdist', cwd=copy)
    found = list((copy / 'dist').glob('*.tar.gz'))
    assert len(found) == 1
    return found[0]


def doctor(packages: Path, cwd: Path) -> str:
    """Run `spaars doctor` of what is installed in a folder."""
    return ran(sys.executable, '-c', 'from spaars_ros.cli import main; main()', 'doctor', cwd=cwd,
               PYTHONPATH=str(packages))


def test_the_source_archive_is_complete_and_a_target_of_it_works(
        sdist: Path, tmp_path: Path) -> None:
    """constraints.txt, which setup.py reads, was missing in it."""
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert {'constraints.txt', 'package.xml', 'config/robot/panda.yaml',
            'launch/finetune.launch.py', 'resource/spaars_ros',
            'spaars_ros/data/demonstrations/panda_reach.h5'} <= names
    installed(sdist, '--target', str(tmp_path / 'target'))
    said = doctor(tmp_path / 'target', tmp_path)
    assert f'{tmp_path}/target/share/spaars_ros/config' in said
    assert f'{tmp_path}/target/spaars_ros' in said


def test_a_wheel_works_where_user_puts_it(sdist: Path, tmp_path: Path) -> None:
    """Its own robots were not found: `no such file, nor one of []`."""
    ran(sys.executable, '-m', 'pip', '--disable-pip-version-check', 'wheel', '--quiet',
        '--no-deps', '--no-index', '--no-build-isolation', '-w', str(tmp_path), str(sdist),
        cwd=tmp_path)
    wheel, = tmp_path.glob('*.whl')
    # As --user does: <base>/lib/python3.x/site-packages and <base>/share.
    installed(wheel, '--prefix', str(tmp_path / 'base'))
    packages, = (tmp_path / 'base').glob('lib/python*/site-packages')
    said = doctor(packages, tmp_path)
    assert f'{tmp_path}/base/share/spaars_ros/config' in said


def test_a_backend_that_is_missing_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    """It was found out node by node, up to six times."""
    done = subprocess.run(
        [sys.executable, '-c', 'from spaars_ros.cli import main; main()', 'evaluate', 'a.spaars'],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
        env={**os.environ, 'MUJOCO_GL': 'nonsense'})
    assert done.returncode == 1
    assert done.stderr.startswith('error: MUJOCO_GL=nonsense: ')
    assert len(done.stderr.splitlines()) == 1


def test_no_script_asks_grep_q_behind_a_pipe() -> None:
    """Under pipefail a match counts as none where the writer meets a closed pipe."""
    script = (ROOT / 'run').read_text()
    assert 'pipefail' in script
    assert not [line for line in script.splitlines()
                if '| grep -q' in line and not line.lstrip().startswith('#')]


@pytest.mark.parametrize(('requires', 'cuda'), [
    ('filelock, nvidia-cudnn-cu13', True), ('cuda-toolkit, filelock', True),
    ('filelock, jinja2', False)])
def test_the_build_with_cuda_is_seen_however_slowly_pip_prints(requires: str, cuda: bool) -> None:
    lines = (ROOT / 'run').read_text().splitlines()
    test, = [line.strip() for line in lines if '$shown =~' in line]
    done = subprocess.run(
        ['bash', '-c', 'set -euo pipefail\nshow() { echo "Name: torch"; echo "Requires: $1"; '
         'sleep 0.1; echo "Required-by: nvidia-nothing"; }\n'
         f'shown=$(show "$1")\n{test} echo cuda; fi', 'bash', requires],
        capture_output=True, text=True)
    assert done.stdout.strip() == ('cuda' if cuda else '')
