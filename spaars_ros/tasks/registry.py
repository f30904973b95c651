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

"""Lookup of tasks by name: an entry point of the group `spaars_ros.tasks`, or `module:Class`."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot
from spaars_ros.robot.files import find_file
from spaars_ros.robot.files import make_model
from spaars_ros.robot.files import nearest
from spaars_ros.robot.sources import anchor_sources
from spaars_ros.robot.strict_yaml import read_yaml
from spaars_ros.tasks.base import MEASURED
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.spec import SpecError

GROUP = 'spaars_ros.tasks'
OWN = {'reach': 'spaars_ros.tasks.reach:ReachTask',
       'insert': 'spaars_ros.tasks.insert:InsertTask',
       'pick': 'spaars_ros.tasks.pick:PickTask',
       'stages': 'spaars_ros.tasks.stages:StagesTask',
       'pick_camera': 'spaars_ros.tasks.pick_camera:PickCameraTask',
       'insert_camera': 'spaars_ros.tasks.insert_camera:InsertCameraTask'}
"""Tasks of this package, also available in a plain checkout; setup.py lists the same."""
BEFORE_TASKS = 'reach'
"""Task of files without `task:` (release 0.1.0)."""


@cache
def known_tasks() -> dict[str, str]:
    """Return name -> module:Class of every installed task."""
    return {**{entry.name: entry.value for entry in entry_points(group=GROUP)}, **OWN}


def task_class(name: str) -> type[Task]:
    """Return the class of a task; raises ConfigError with a one-line message."""
    reference = name if ':' in name else known_tasks().get(name)
    if reference is None:
        raise ConfigError(f'task {name!r}: none of {sorted(known_tasks())}, nor module:Class'
                          + nearest(name, sorted(known_tasks())))
    module, _, attribute = reference.partition(':')
    try:
        found: Any = getattr(import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - code of another package may raise anything
        raise ConfigError(f'task {name!r}: cannot import {reference}: '
                          f'{type(error).__name__}: {error}'.splitlines()[0]) from None
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(f'task {name!r}: {reference} is no class derived from '
                          'spaars_ros.tasks.base.Task')
    return found


def load_task(name: str = 'reach') -> TaskSettings:
    """
    Load a task file by path, or by name from `config/task/`, or take the defaults of a class.

    The defaults of a class are used for `module:Class`, and for an entry point of a package that
    ships no file.

    :return: settings of the task's own class, for `make_task`
    :raises ConfigError: the message names the file, the field and the value
    """
    if ':' in name and not Path(name).exists() or name in known_tasks() and name not in OWN:
        try:
            return task_class(name).Settings(task=name)
        except ValidationError as error:
            fields = ', '.join('.'.join(map(str, item['loc'])) for item in error.errors())
            raise ConfigError(f'task {name!r}: {fields}: has no default: write a task file, with '
                              f'`task: {name}`') from None
    path = find_file(name, 'task')
    document = read_yaml(path)
    which = document.content.get('task', BEFORE_TASKS)
    if not isinstance(which, str):
        raise ConfigError(f'{document.where(("task",))}: task: {which!r} is no name')
    try:
        settings = task_class(which).Settings
    except ConfigError as error:
        raise ConfigError(f'{document.where(("task",))}: {error}') from None
    made = make_model(settings, document, {'task': which})
    return made.model_copy(update={'sources': anchor_sources(made.sources, path.parent)})


def settings_of(content: Mapping[str, Any]) -> TaskSettings:
    """Return settings that were stored as JSON; raises ValidationError, ConfigError."""
    which = str(content.get('task', BEFORE_TASKS))
    return task_class(which).Settings(**{**content, 'task': which})


def make_task(robot: Robot, settings: TaskSettings) -> Task:
    """Return the task of a task file for a robot; raises ConfigError if they do not fit."""
    made = task_class(settings.task)
    try:
        task = made(robot, settings)
        spec = task.spec
    except (SpecError, AttributeError, TypeError) as error:
        raise ConfigError(f'task {settings.task!r}: {type(error).__name__}: {error}') from None
    offered = (*spec.costs, *MEASURED)
    for constraint in robot.constraints:
        for term in constraint.terms:
            if term not in offered:
                raise ConfigError(
                    f'{robot.source}: constraints.{constraint.name}: the term {term!r} is none '
                    f'that task {spec.name!r} offers: {sorted(offered)}')
    return task
