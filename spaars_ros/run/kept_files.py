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

"""Copies of the robot, task, training and parameter files of a run in its folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
import yaml

from spaars_ros.data.files import write_whole
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import differences
from spaars_ros.robot.files import is_bare
from spaars_ros.robot.resources import absolute
from spaars_ros.run.model_files import is_same_model
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import settings_of
from spaars_ros.training_file import load_training
from spaars_ros.training_file import Training

KINDS = ('robot', 'task', 'training')
PARAMETERS = 'parameters.yaml'


class KeptFileError(ValueError):
    """File differs from the one that the run began with; the message names the fields."""


def anchor_path(name: str) -> str:
    """Return the absolute path of a file; the bare name of a shipped file stays unchanged."""
    return name if not name or is_bare(name) else str(absolute(name))


def anchored_data(name: str) -> str:
    """Return the absolute path of a data file; a package:// address stays unchanged."""
    return name if not name or name.startswith('package://') \
        else str(absolute(name))


def keep(folder: Path, robot: Robot, settings: TaskSettings, params_file: str) -> dict[str, str]:
    """
    Copy the files that a run uses into its folder; return kind -> file to use from now on.

    The caller writes the training file, because the command line may have changed it.

    :raises OSError: a file cannot be written
    """
    content = {'robot': without_source(robot), 'task': settings.model_dump(mode='json')}
    for kind, values in content.items():
        write_whole(folder / f'{kind}.yaml', yaml.safe_dump(
            values, sort_keys=False, allow_unicode=True).encode())
    parameters = folder / PARAMETERS
    if params_file and Path(params_file).is_file() and not _same(Path(params_file), parameters):
        write_whole(parameters, Path(params_file).read_bytes())
    return kept_files(folder)


def kept_files(folder: Path) -> dict[str, str]:
    """Return kind -> copy for the copies that exist in the folder of a run."""
    names = {**{kind: f'{kind}.yaml' for kind in KINDS}, 'params_file': PARAMETERS}
    return {kind: str((folder / name).resolve()) for kind, name in names.items()
            if (folder / name).is_file()}


MARVEL_ONLY = 'align_entropy_reward'


def without_source(robot: Robot) -> dict[str, Any]:
    """Return the content of a robot file, with the absolute path of its model."""
    content = robot.model_dump(mode='json', exclude={'source'})
    if not robot.model.startswith('package://'):
        content['model'] = str(robot.model_path.resolve())
    return content


def files_to_go_on_with(folder: Path, kept: dict[str, Any],
                        params_file: str = '') -> dict[str, str]:
    """
    Return kind -> file that a resumed run uses: its copy, else the original file.

    :param kept: content of config.json
    :param params_file: a new parameter file, which replaces that of the run
    :raises KeptFileError: a copy or its original has changed since the run began, so that a
        command, a limit or a reward would no longer mean what was learned
    :raises ConfigError: a file cannot be read
    """
    options = kept['options']
    files = {'params_file': str(options.get('params_file', '')), **kept_files(folder)}
    readers: dict[str, Callable[[str], dict[str, Any]]] = {
        'robot': lambda name: without_source(load_robot(name)),
        'task': lambda name: load_task(name).model_dump(mode='json'),
        'training': lambda name: load_training(
            name, **options.get('overrides', {})).model_dump(mode='json')}
    for kind, read in readers.items():
        given = str(options.get(kind, ''))
        began = _began(kind, kept)
        own = files.setdefault(kind, given)
        checked = [given] if own != given and not is_bare(given) and Path(given).is_file() else []
        if kind != 'training' or own == given:  # editing the folder's training file is allowed
            checked.insert(0, own)
        for name in checked:
            here = read(name)
            if kind == 'training':
                here['demonstrations'] = began.get('demonstrations')
                if here.get(MARVEL_ONLY) is None:  # default was 0.0 in 0.1.0; no run uses it
                    here[MARVEL_ONLY] = began.get(MARVEL_ONLY)
            if kind == 'robot' and began.get('targets') is None:
                here['targets'] = None  # added to shipped files later; before, tasks defined it
            differ = differences(began, here) if began else ''
            if differ:
                raise KeptFileError(
                    f'{name} has changed since the run began: {differ}. A run continues with the '
                    f'{kind} file that it started with: restore it, or start a new run')
    digest = kept.get('model_digest', '')
    robot = load_robot(files['robot'])
    if digest and not is_same_model(robot.model_path, digest):
        raise KeptFileError(f'{robot.model_path}: the model has changed since the run began, or a '
                            'file that it includes: restore it, or start a new run')
    if params_file:
        return {**files, 'params_file': params_file}
    _check_parameters(folder, str(options.get('params_file', '')))
    return files


def _began(kind: str, kept: dict[str, Any]) -> dict[str, Any]:
    """Return a file's content when the run began, completed with fields added since."""
    content = kept.get(kind)
    if not isinstance(content, dict):
        return {}
    try:
        if kind == 'robot':
            return without_source(Robot(**content))
        if kind == 'task':
            return settings_of(content).model_dump(mode='json')
        return Training(**content).model_dump(mode='json')
    except ValidationError as error:
        first = error.errors()[0]
        where = '.'.join(str(part) for part in first['loc'])
        raise KeptFileError(f'config.json: {kind}: {where}: {first["msg"]}: start a new run with '
                            'a file that is right') from None


def _check_parameters(folder: Path, given: str) -> None:
    own = folder / PARAMETERS
    if given and own.is_file() and Path(given).is_file() and not _same(Path(given), own):
        raise KeptFileError(f'{given} has changed since the run began: name it again with '
                            '--params-file to take it, or restore it')


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()
