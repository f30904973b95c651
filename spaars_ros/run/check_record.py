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

"""Stored result of a wiring check, which a run on a real robot requires."""

import hashlib
import json
import os
from pathlib import Path
import re
import shutil
from typing import Any

from spaars_ros.robot.config import Robot
from spaars_ros.robot.resources import read_file
from spaars_ros.run.model_files import digest_of_model

FOLDER = Path('runs/checks')
"""Folder of the results, one file per robot file."""


class CheckMissing(ValueError):
    """Wiring of this robot not checked, or check failed; the message says what to do."""


def robot_digest(robot: Robot) -> str:
    """Return a digest of the content of a robot file and its model, 24 hex digits."""
    digest = hashlib.sha256(robot.model_dump_json(exclude={'source'}).encode())
    digest.update(digest_of_model(robot.model_path).encode())
    return digest.hexdigest()[:24]


def record_path(robot: Robot, folder: Path = FOLDER) -> Path:
    """Return the path of the check result of this robot file, whether or not it exists."""
    name = re.sub(r'[^\w.-]', '_', robot.name)  # no name leads to another folder
    return folder / f'{name[:100]}-{robot_digest(robot)}.json'


def save_record(record: dict[str, Any], path: Path) -> None:
    """Write a result atomically; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}')
    part.write_text(json.dumps(record, indent=2) + '\n')
    os.replace(part, path)


def require_passed(robot: Robot, folder: Path = FOLDER) -> dict[str, Any]:
    """Return the result of the check passed on the real robot; raises CheckMissing."""
    path = record_path(robot, folder)
    how = f'spaars check --no-sim --robot {robot.source or robot.name}'
    try:
        record: dict[str, Any] = json.loads(read_file(path))
        passed, simulated = bool(record['passed']), bool(record['simulated'])
    except OSError:
        raise CheckMissing(f'the wiring of {robot.name} has not been checked with this robot file '
                           f'({path} is not there): {how}') from None
    except (ValueError, KeyError, TypeError):
        raise CheckMissing(f'{path} is damaged: {how}') from None
    if simulated:
        raise CheckMissing(f'{path} is of the simulated arm: {how}')
    if not passed:
        faults = record.get('faults') or ['no reason kept']
        raise CheckMissing(f'the check of the wiring failed ({faults[0]}; {path}): mend it, then '
                           f'{how}')
    return record


def keep_record(robot: Robot, folder: Path) -> None:
    """Copy the check result, if there is one, into the folder of the run that relies on it."""
    path = record_path(robot)
    if path.is_file():
        shutil.copyfile(path, folder / 'check.json')
