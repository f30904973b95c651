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

"""Files of the rows of `spaars stress`: a JSON list, or one line per run."""

import json
from pathlib import Path
from typing import Any

KEYS = ('fault', 'about', 'detected_s', 'detected_by', 'stopped_s', 'stop', 'worst_margin',
        'worst_limit', 'joint_margin_rad', 'zone_margin_m', 'worst_speed', 'transitions_lost',
        'recovered', 'skipped', 'seed', 'judged', 'commit', 'date', 'processor')


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of `spaars stress --json`; raise ValueError or OSError."""
    text = path.read_text()
    try:
        # The last line may be incomplete: that run is made again.
        rows = [json.loads(line) for line in text.splitlines(True) if line.endswith('\n')] \
            if path.suffix == '.jsonl' else json.loads(text)
    except ValueError as error:
        raise ValueError(f'{path}: not JSON: {error}') from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and 'fault' in row
                                             for row in rows):
        raise ValueError(f'{path}: not the rows of spaars stress --json')
    return [{**dict.fromkeys(KEYS), 'skipped': '', 'judged': True, 'seed': 0, **row}
            for row in rows]


class RowLog:
    """
    A file with one row per line, which a later call continues.

    :param path: of the file
    :raises ValueError: the file has other content
    :raises OSError: it cannot be read or written
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.rows = rows_of(path) if path.exists() else []
        """Rows of earlier calls."""
        with path.open('ab') as file:
            file.truncate(path.read_bytes().rfind(b'\n') + 1)

    def append(self, row: dict[str, Any]) -> None:
        """Append a row; raise OSError."""
        with self._path.open('a') as file:
            file.write(json.dumps(row) + '\n')
