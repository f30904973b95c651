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

"""That the embedded task is learned, whole; ten minutes, so `./run test -m long` asks for it."""

from pathlib import Path

import pytest

from benchmarks.finetune import fine_tune

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]


def test_the_embedded_task_is_learned_within_its_cost_limit(tmp_path: Path) -> None:
    """A gate that stayed shut once left half of the targets unreached, and nothing noticed."""
    row = fine_tune('gated', 0, 150, tmp_path, 50, 'panda', 'reach', 'spaars')
    assert row['success_before'] < 0.1
    assert row['success_after'] >= 0.9
    assert row['tip_error_after'] < 0.006
    assert row['cost_last_fifth'] <= row['cost_limit']
