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

"""Setting `device`: what learns on another device does as it does on the CPU."""

import json
from pathlib import Path
import subprocess
import sys

from on_second_device import ON_ROBOT
from on_second_device import RUNS
import pytest
import torch
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.learning.core.device import find_device
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.training_file import load_training

SEES_GPU = torch.cuda.is_available()


@pytest.fixture(scope='module')
def errors():
    """Return what failed per run; torch cannot forget a second device, so it has a process."""
    done = subprocess.run([sys.executable, Path(__file__).with_name('on_second_device.py')],
                          text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(900)
@pytest.mark.parametrize('run', [*RUNS, *ON_ROBOT])
def test_every_tensor_moves_and_checkpoints_continue_on_another_device(run, errors):
    """A tensor left on the CPU is an error on the second device, as it is on a GPU."""
    assert not errors[run], errors[run]


def test_auto_takes_a_gpu_if_there_is_one_and_cpu_never():
    assert find_device('cpu').type == 'cpu'
    assert find_device('auto').type == ('cuda' if SEES_GPU else 'cpu')


@pytest.mark.skipif(SEES_GPU, reason='there is a GPU')
def test_cuda_without_a_gpu_is_one_line_that_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="device 'cuda': torch sees no GPU.*set device to"):
        find_device('cuda')
    with pytest.raises(ConfigError, match="device 'gpu': expected auto, cpu or cuda"):
        find_device('gpu')
    done = CliRunner().invoke(app, [
        'train', '--env', 'Pendulum-v1', '--algorithm', 'sac', '--set', 'device=cuda',
        '--out', str(tmp_path / 'run')])
    assert done.exit_code == 1 and len(done.stderr.strip().splitlines()) == 1
    assert "device 'cuda'" in done.stderr


def test_the_device_makes_no_other_package():
    from test_compiled import make
    one, other = (make('sac', device=device).agent.recipe for device in ('cpu', 'auto'))
    assert one == other and 'device' in load_training('spaars').model_dump()
