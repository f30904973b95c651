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

"""What the policy server has on disk reaches the recording, also where the learner was behind."""

from pathlib import Path

import numpy as np

from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.spool import read_spool


def complete_recording(spool: Path, recording: Path) -> int:
    """
    Make a recording agree with the server's own spool, while no node runs; return what changed.

    A learner that was killed and is still catching up when a run ends has not recorded all that
    the server did. And what it heard on the wire need not be what the server wrote.

    :return: records that were missing or differed
    :raises SpoolError: the spool cannot be read
    :raises RecorderError: the recording holds steps of another schema
    :raises OSError: the disk refuses
    """
    schema, rows = read_spool(spool)
    try:
        known = read_steps(recording)[1] if recording.exists() else rows[:0]
    except RecorderError:
        known = rows[:0]  # nothing whole in it
    recorded = {row[0]: row for row in known}
    other = [row for row in rows if row[0] in recorded
             and not np.array_equal(recorded[row[0]], row)]
    if len(known) >= len(rows) and not other:
        return 0
    recorder = TransitionRecorder(recording, schema)
    added = sum(recorder.write_step(row) for row in rows)
    for row in other:
        recorder.correct_step(row)
    if not recorder.close():
        raise OSError(f'cannot complete the recording: {recorder.error}')
    return added + len(other)
