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

"""Observation terms made by a camera's encoder, and the orientation of a simulated camera."""

from collections.abc import Sequence

import numpy as np

from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.spec import Term
from spaars_ros.vision.encoder_file import camera_of
from spaars_ros.vision.encoder_file import made_by
from spaars_ros.vision.encoder_file import read_encoder


def camera_term(robot: Robot, settings: TaskSettings, name: str) -> Term:
    """
    Return the term of a camera's source, as wide as the vector of its encoder.

    Policies and demonstrations store what made the term's values; they are refused with another
    encoder.

    :param name: of the source
    :raises ConfigError: the source is not declared or not a camera, or its encoder cannot be read
    """
    entry = next((one for one in (*settings.sources, *robot.sources) if one.name == name), None)
    if entry is None:
        raise ConfigError(f'task {settings.task!r} needs the source {name!r}, which neither the '
                          'task file nor the robot file declares: add it under `sources:`, with '
                          'type Image and camera')
    width = read_encoder(camera_of(entry).encoder).features
    return Term(name, width, made_by={
        f'sources.{name}.camera.{place}': text for place, text in made_by(entry).items()},
        names=(name,) if width == 1 else tuple(f'{name}.{i}' for i in range(width)))


def looking(place: Sequence[float], at: Sequence[float]) -> list[float]:
    """
    Return `xyaxes` for MuJoCo's add_camera: from one place (3,) m to another, image upright.

    :raises ConfigError: the view is straight up or down, where the upright direction is undefined
    """
    back = np.asarray(place, float) - np.asarray(at, float)
    right = np.cross((0.0, 0.0, 1.0), back)
    if np.linalg.norm(right) < 1e-9:
        raise ConfigError(f'a camera at {list(place)} that looks at {list(at)}: not straight down')
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    return [*right.tolist(), *(up / np.linalg.norm(up)).tolist()]
