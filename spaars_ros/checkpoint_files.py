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

"""File names of a run's checkpoints."""

from pathlib import Path

ACTING = 'acting.spaars'
"""Bundle that acted last."""
BEFORE_ACTING = 'before_acting.spaars'
"""Preceding bundle: rollback target of a restarted policy server if the last one fails."""


def steps_of(path: Path) -> int:
    """Return the number of environment steps in a checkpoint's file name."""
    return int(path.stem.removeprefix('step_'))


def checkpoints_in(directory: Path) -> list[Path]:
    """Return the checkpoint files, oldest first, sorted by number (more digits than padding)."""
    return sorted((path for path in directory.glob('step_*.spaars')
                   if path.stem.removeprefix('step_').isdigit()), key=steps_of)
