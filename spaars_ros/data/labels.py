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

"""Outcomes that a person assigned to episodes, stored beside the steps and applied to them."""

from collections.abc import Mapping
import json
from pathlib import Path

from spaars_ros.data.files import write_whole
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.robot.resources import read_file

FILE = 'labels.json'
TOPIC = 'policy_server/label'
"""Fields: episode, outcome."""
MOST = 1_000_000

Labels = Mapping[int, Outcome]
"""Episode -> its newest label."""


class LabelError(ValueError):
    """A file of labels cannot be read; the message names the file and says what to do."""


def apply_labels(schema: StepSchema, rows: Array, labels: Labels) -> Array:
    """
    Return records (m, width) with the labels as outcomes in the last records of the episodes.

    Only an episode that has ended has an outcome; other episodes are unchanged.
    """
    if not labels or 'outcome' not in schema.fields:
        return rows
    rows = rows.copy()
    ended = schema.get(rows, 'flag') != Flag.RUNNING
    for episode, outcome in labels.items():
        place = ended & (schema.get(rows, 'episode') == episode)
        rows[place, schema.fields['outcome']] = outcome
    return rows


def encode_labels(labels: Labels) -> bytes:
    """Return the content of a file of labels."""
    return json.dumps({str(episode): outcome.name.lower()
                       for episode, outcome in sorted(labels.items())}, indent=1).encode() + b'\n'


def read_labels(folder: Path) -> dict[int, Outcome]:
    """Return the labels of a run folder, {} if there are none; raises LabelError."""
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        content = json.loads(read_file(path))
        if not isinstance(content, dict) or len(content) > MOST:
            raise ValueError('expected episode: outcome')
        found = {int(episode): Outcome[name.upper()] for episode, name in content.items()}
        if any(episode < 0 for episode in found):
            raise ValueError('an episode below 0')
    except (OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise LabelError(f'{path}: {type(error).__name__}: {error}; without the file no episode '
                         'is labelled after its end') from None
    return found


def write_labels(folder: Path, labels: Labels) -> None:
    """Write the labels of a run folder atomically; raises OSError."""
    write_whole(folder / FILE, encode_labels(labels))
