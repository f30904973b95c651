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

"""Diagnostic status of the learner."""

from collections.abc import Mapping
from typing import Any

from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.sequencer import Sequencer
from spaars_ros.ros.diagnostics import ERROR
from spaars_ros.ros.diagnostics import OK
from spaars_ros.ros.diagnostics import status
from spaars_ros.ros.diagnostics import WARN


def learner_status(recorder: TransitionRecorder, sequencer: Sequencer,
                   progress: dict[str, float], name: str, *, error: str, alone: bool,
                   paused: bool, more: Mapping[str, object]) -> Any:
    """
    Return the DiagnosticStatus of one robot of the learner.

    :param progress: `FineTuner.progress`
    :param name: name of the status
    :param error: error of learning, recording or saving; '' if none
    :param alone: whether no policy server publishes steps
    :param paused: whether learning is paused and steps are only recorded
    :param more: further key-value pairs
    """
    gap = sequencer.gap
    level, message = OK, 'paused: records, and learns nothing' if paused else 'learning'
    if alone:
        level, message = WARN, 'no policy server on policy_server/step'
    elif gap:
        level, message = WARN, 'waiting for missing steps'
    if error:
        level, message = ERROR, error
    return status(name, level, message, steps=sequencer.next, recorded=recorder.count,
                  missing=f'{gap[0]} to {gap[1]}' if gap else '',
                  duplicates=sequencer.duplicates, updates=int(progress['updates']),
                  owed=int(progress['owed']), policy_server='not heard' if alone else 'heard',
                  bundle_version=int(progress['bundle_version']),
                  **more)
