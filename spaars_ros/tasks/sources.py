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

"""Topics of a task's sources, from the task file and the robot file."""

from collections.abc import Sequence

from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.files import nearest
from spaars_ros.robot.sources import Source
from spaars_ros.tasks.base import Task


def sources_of(task: Task) -> tuple[Source, ...]:
    """
    Return the entry of each source that a task needs, in its order; the task file overrides.

    :raises ConfigError: a needed source is not declared, a declared one is not needed, a name is
        declared twice, or two sources on one topic have different types
    """
    of_task = {entry.name: entry for entry in task.settings.sources}
    if len(of_task) < len(task.settings.sources):
        names = [entry.name for entry in task.settings.sources]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f'task {task.name!r}: sources: {twice!r} is there twice')
    for name in of_task:
        if name not in task.sources:
            raise ConfigError(f'task {task.name!r}: sources: {name!r} is none that it needs: '
                              f'{list(task.sources)}' + nearest(name, task.sources))
    known = {**{entry.name: entry for entry in task.robot.sources}, **of_task}
    for name in task.sources:
        if name not in known:
            raise ConfigError(
                f'task {task.name!r} needs the source {name!r}, which neither the task file nor '
                f'{task.robot.source or "the robot file"} declares: add it under `sources:`, with '
                'name, topic and type' + nearest(name, sorted(known)))
    found = tuple(known[name] for name in task.sources)
    types: dict[str, str] = {}
    for entry in found:
        if types.setdefault(entry.on, entry.type) != entry.type:
            raise ConfigError(f'task {task.name!r}: sources: {entry.name!r} is of type '
                              f'{entry.type}, another on the same topic {entry.on!r} of '
                              f'{types[entry.on]}')
        if entry.camera is not None and types.setdefault(entry.images, entry.type) != entry.type:
            raise ConfigError(f'task {task.name!r}: sources: {entry.name!r} is of type '
                              f'{entry.type}, another on the same topic {entry.images!r} of '
                              f'{types[entry.images]}')
    return found


def cameras_of(task: Task) -> tuple[Source, ...]:
    """
    Return the camera sources of a task, whose values an encoder makes, in the task's order.

    Other sources may be missing in both files: a simulation measures them without a topic.
    """
    known = {entry.name: entry for entry in (*task.robot.sources, *task.settings.sources)}
    return tuple(known[name] for name in task.sources
                 if name in known and known[name].camera is not None)


def one_per_topic(cameras: Sequence[Source]) -> tuple[Source, ...]:
    """
    Return one of the sources on each topic of images, the one with the highest rate.

    Several encoders may see through one camera, for instance one for the policy and one that
    judges.
    """
    found: dict[str, Source] = {}
    for source in cameras:
        known = found.setdefault(source.images, source)
        if _rate(source) > _rate(known):
            found[source.images] = source
    return tuple(found.values())


def _rate(source: Source) -> float:
    """Return a camera's rate in Hz, infinite for every image."""
    return (source.camera.rate if source.camera is not None else 0.0) or float('inf')
