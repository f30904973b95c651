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

from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.spool import read_spool


def complete_recording(spool: Path, recording: Path) -> int:
    """
    Append the spooled steps that the recording lacks, when the nodes have ended; return how many.

    A learner that was killed and is still catching up when a run ends has not recorded all that
    the server did. The spool has it.

    :raises SpoolError: the spool cannot be read
    :raises RecorderError: the recording holds steps of another schema
    :raises OSError: the disk refuses
    """
    schema, rows = read_spool(spool)
    try:
        known = len(read_steps(recording)[1]) if recording.exists() else 0
    except RecorderError:
        known = 0  # nothing whole in it
    if known >= len(rows):
        return 0
    recorder = TransitionRecorder(recording, schema)
    added = sum(recorder.write_step(row) for row in rows)
    if not recorder.close():
        raise OSError(f'cannot complete the recording: {recorder.error}')
    return added
