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

"""`spaars bench camera`: which command belongs to which frame."""

import numpy as np
from typer.testing import CliRunner

from benchmarks.camera import _Ears
from benchmarks.camera import _times
from spaars_ros.cli import app


def test_a_command_is_timed_from_the_frame_whose_vector_it_was_computed_from():
    """The frame is as old as the record says, and not the newest when the command came."""
    ears = _Ears.__new__(_Ears)
    ears.vectors = {10_000_000_000: 10.012, 10_050_000_000: 10.07}
    ears.commands = {10_050_000_001: 10.06, 10_100_000_000: 10.13, 9_000_000_000: 9.01}
    ears.seen = [(10.05, 0.05), (10.1, 0.05), (9.0, 0.0), (11.0, 0.0)]
    vectors, commands = _times(ears, after=10.0)
    np.testing.assert_allclose(sorted(vectors), [0.012, 0.02], atol=1e-6)
    np.testing.assert_allclose(sorted(commands), [0.06, 0.08], atol=1e-6)


def test_a_size_that_no_camera_has_is_one_line():
    done = CliRunner().invoke(app, ['bench', 'camera', '--sizes', '84,big'])
    assert done.exit_code == 1 and done.output.startswith('error: --sizes 84,big')
