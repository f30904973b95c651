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

"""A task of somebody else, installed as any package is: demonstrated and fine-tuned as ours."""

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

from domains import DOMAINS
import pytest

pytestmark = pytest.mark.timeout(300)

EXAMPLE = Path(__file__).resolve().parent.parent / 'examples' / 'wipe_task'


@pytest.fixture(scope='module')
def spaars(tmp_path_factory):
    """Return what runs the command in an environment that has the example."""
    folder = tmp_path_factory.mktemp('installed')
    # pip builds in the source folder, which may be read-only.
    shutil.copytree(EXAMPLE, folder / 'source')
    site = folder / 'site'
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps',
                    '--no-build-isolation', '--no-index', '--target', str(site),
                    str(folder / 'source')], check=True, timeout=120)
    paths = [str(site), *filter(None, [os.environ.get('PYTHONPATH', '')])]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths),
                   'ROS_DOMAIN_ID': str(next(DOMAINS))}

    def run(*arguments):
        return subprocess.run([sys.executable, '-m', 'spaars_ros.cli', *arguments], cwd=folder,
                              env=environment, capture_output=True, text=True, timeout=240)
    run.folder = folder
    return run


def test_it_is_no_longer_than_a_stranger_would_write():
    lines = [line for path in EXAMPLE.rglob('*.py') for line in path.read_text().splitlines()
             if line.strip() and not line.startswith('#')]
    assert len(lines) <= 150


def test_it_is_demonstrated_and_fine_tuned_over_the_four_nodes_by_its_name_alone(spaars):
    made = spaars('collect', 'demonstrations.h5', '--task', 'wipe', '--episodes', '25')
    assert made.returncode == 0 and 'wiped' in made.stdout, made.stderr
    # A busy machine is no fault of the example's.
    (spaars.folder / 'params.yaml').write_text(
        'policy_server:\n  ros__parameters:\n    overruns: 0\n    late: 0\n')
    done = spaars('finetune', '--task', 'wipe', '--demonstrations', 'demonstrations.h5',
                  '--params-file', 'params.yaml', '--training', 'smoke',
                  '--episodes', '3', '--evaluation-episodes', '1',
                  '--plain', '--cache', 'cache', '--out', 'run')
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((spaars.folder / 'run' / 'summary.json').read_text())
    assert summary['episodes'] == 3 and summary['metrics']['wiped']['unit'] == 'm'
    assert 'wiped' in done.stdout


def test_demonstrations_of_another_task_are_refused_with_every_term(spaars):
    done = spaars('finetune', '--task', 'wipe', '--training', 'smoke', '--out', 'other',
                  '--demonstrations', 'package://spaars_ros/data/demonstrations/panda_insert.h5')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert "term 'to_edge' is missing" in done.stderr, done.stderr
    assert 'the action is twist x,y,z,rx,ry' in done.stderr
