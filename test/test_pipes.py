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

"""A pipe where a file should be is refused; reading it would wait for ever."""

import os
from pathlib import Path

import pytest
import yaml

from spaars_ros.data.demonstrations import digest_of
from spaars_ros.policy.bundle import bundle_bytes
from spaars_ros.policy.bundle import BundleError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.files import find_file
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.strict_yaml import ConfigError

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / 'pipe'
    os.mkfifo(path)
    return path


def test_a_model_that_is_a_pipe_is_refused(pipe: Path, tmp_path: Path) -> None:
    file = tmp_path / 'robot.yaml'
    file.write_text(yaml.safe_dump({
        **yaml.safe_load(find_file('panda', 'robot').read_text()), 'model': str(pipe)}))
    with pytest.raises(ConfigError, match='model .*pipe: not a file'):
        Kinematics(load_robot(str(file)))


def test_a_bundle_or_demonstrations_that_are_a_pipe_are_not_waited_for(pipe: Path) -> None:
    with pytest.raises(BundleError, match='pipe: not a file'):
        bundle_bytes(pipe)
    assert digest_of(pipe) == b''
