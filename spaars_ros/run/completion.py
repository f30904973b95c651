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

"""Complete the recording from the policy server's spool, in case the learner was behind."""

from pathlib import Path

import numpy as np

from spaars_ros.data.mcap_records import Damage
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import NoStepError
from spaars_ros.data.recording import read_steps
from spaars_ros.data.spool_format import scan_spool


def complete_recording(spool: Path, recording: Path) -> tuple[int, list[str]]:
    """
    Make a recording agree with the policy server's spool; call it only while no node runs.

    A learner that was killed, and is still catching up when a run ends, has not recorded every
    step. Steps that it received over the network may also differ from what the server wrote.

    :return: number of records that were missing or differed, and one line per item that is lost or
        was set aside
    :raises SpoolError: the spool cannot be read
    :raises RecorderError: the recording holds steps of another schema
    :raises OSError: the recording cannot be written
    """
    spooled = scan_spool(spool)
    rows = spooled.rows[spooled.sound]
    damage: list[Damage] = []
    known = rows[:0]
    try:
        if recording.exists():
            known = read_steps(recording, damage=damage)[1]
    except NoStepError:
        pass
    recorded = {row[0]: row for row in known}
    other = [row for row in rows if row[0] in recorded
             and not np.array_equal(recorded[row[0]], row)]
    if not damage and not other and recording.exists() \
            and all(row[0] in recorded for row in rows):
        return 0, []
    recorder = TransitionRecorder(recording, spooled.schema)
    added = sum(recorder.write_step(row) for row in rows)
    for row in other:
        recorder.correct_step(row)
    next_sequence, count = recorder.next_sequence, recorder.count
    if not recorder.close():
        raise OSError(f'cannot complete the recording: {recorder.error}')
    lines = list(recorder.damage)
    if count > next_sequence:
        lines.append(f'step {next_sequence} is damaged in the spool and not in {recording.name}: '
                     'it is lost')
    return added + len(other), lines
