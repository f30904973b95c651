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

"""Source: a topic beside joint_states that a task observes, as robot and task files give it."""

from collections.abc import Sequence
import math
from pathlib import Path
import re
from typing import Annotated
from typing import Literal
from typing import Optional

from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator

from spaars_ros.robot.files import nearest
from spaars_ros.robot.files import Strict
from spaars_ros.robot.resources import absolute
from spaars_ros.robot.resources import expanded

TYPES = ('geometry_msgs/msg/WrenchStamped', 'geometry_msgs/msg/PoseStamped',
         'geometry_msgs/msg/PointStamped', 'geometry_msgs/msg/TwistStamped',
         'std_msgs/msg/Float64MultiArray', 'std_msgs/msg/Float32', 'std_msgs/msg/Float64',
         'std_msgs/msg/Bool', 'sensor_msgs/msg/JointState', 'tf2_msgs/msg/TFMessage',
         'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
"""Supported message types of sources; `ros/sources/` has one file per kind."""
SHORT = {name.rpartition('/')[2]: name for name in TYPES}
TF = 'tf2_msgs/msg/TFMessage'
IMAGES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
"""Types whose values an encoder computes."""
NEED_SELECT = ('sensor_msgs/msg/JointState',)
"""Types without fixed fields: the source has to select its fields."""
UNITS = {'': 1.0, 'mm': 1e-3, 'cm': 1e-2, 'um': 1e-6, 'deg': math.pi / 180.0, 'kN': 1e3,
         'mN': 1e-3, 'N mm': 1e-3, 'kgf': 9.80665, 'gf': 9.80665e-3, '%': 1e-2}
"""Unit of a message -> factor to SI."""

SOON_NS = 2_000_000
"""ns by which an image may be earlier than its period."""

TOPIC = re.compile(r'(?:~/|/)?[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*\Z|\Z')
"""Names of ROS topics, and the empty one."""

Text = Annotated[str, Field(min_length=1, max_length=200)]
Finite = Annotated[float, Field(ge=-1e6, le=1e6)]


class Apply(Strict):
    """Conversion of a source's values, in this order."""

    unit: str = Field('', description=f'unit of the message, if not SI: '
                      f'{", ".join(name for name in UNITS if name)}')
    scale: float = Field(1.0, ge=-1e6, le=1e6, description='factor on the values, not 0')
    clamp: Optional[tuple[Finite, Finite]] = Field(
        None, description='lowest and highest value, SI')
    filter: float = Field(0.0, ge=0, le=60, description='s, time constant of a first-order '
                          'low-pass filter; 0: none')

    @model_validator(mode='after')
    def _makes_sense(self) -> 'Apply':
        if self.unit not in UNITS:
            raise ValueError(f'unit: {self.unit!r} is none of '
                             f'{[name for name in UNITS if name]}')
        if not self.scale:
            raise ValueError('scale: 0 would make every value 0')
        if self.clamp is not None and not self.clamp[0] < self.clamp[1]:
            raise ValueError(f'clamp: {self.clamp[0]} is not below {self.clamp[1]}')
        return self

    @property
    def factor(self) -> float:
        """Return the factor for the values of a message."""
        return self.scale * UNITS[self.unit]


Pixels = Annotated[int, Field(ge=1, le=8192)]
Share = Annotated[float, Field(ge=0, le=1)]
Colours = tuple[Finite, Finite, Finite]


class Camera(Strict):
    """Conversion of camera images to the values of a source."""

    encoder: str = Field(min_length=1, max_length=400, description='ONNX file that maps an image '
                         'to a vector: a path, or package://<python package>/<path>')
    size: Optional[tuple[Pixels, Pixels]] = Field(
        None, description='pixels, width and height of incoming images; other sizes are rejected; '
        'none: the size of the first image; a simulated camera renders the size that the encoder '
        'takes')
    crop: tuple[Share, Share, Share, Share] = Field(
        (0.0, 0.0, 1.0, 1.0), description='left, top, right and bottom of the region to keep, as '
        'shares of the image')
    input: Optional[tuple[Pixels, Pixels]] = Field(
        None, description='pixels, width and height of the input of the encoder, if its file '
        'leaves them open')
    mean: Colours = Field(
        (0.0, 0.0, 0.0), description='red, green, blue in [0, 1], subtracted from the image first')
    std: Colours = Field(
        (1.0, 1.0, 1.0), description='red, green, blue; the image is then divided by it')
    rate: float = Field(
        0.0, ge=0, le=1000, description='Hz, highest rate at which images are encoded; 0: every '
        'image')
    contrast: float = Field(
        2.0, ge=0, le=255, description='standard deviation of the brightness, of 255, below which '
        'an image counts as empty and is rejected; 0: none is rejected')
    simulated: str = Field(
        '', max_length=200, description="name of the camera in the scene; '': the name of the "
        'source')

    @model_validator(mode='after')
    def _makes_sense(self) -> 'Camera':
        left, top, right, bottom = self.crop
        if not (left < right and top < bottom):
            raise ValueError(f'crop: {list(self.crop)}: left has to be below right, top below '
                             'bottom')
        if not all(self.std):
            raise ValueError(f'std: {list(self.std)}: nothing can be divided by 0')
        return self

    @property
    def period_ns(self) -> int:
        """Return the ns that have to lie between two images that are encoded, 0 for every one."""
        return round(1e9 / self.rate) - SOON_NS if self.rate else 0


class Source(Strict):
    """A topic that a task observes beside joint_states."""

    name: Text = Field(description='name of the source in the specification of the task')
    topic: str = Field('', max_length=200, description="topic; '': the name of the source")
    type: str = Field(description='message type, such as geometry_msgs/msg/WrenchStamped or '
                      'WrenchStamped')
    qos: Literal['sensor', 'reliable', 'latched'] = Field(
        'sensor', description='QoS of the subscription; sensor: best effort (fits every '
        'publisher); latched: reliable and transient local')
    select: list[Text] = Field(
        [], max_length=1000, description='fields, in the order of the values: force.x, '
        'position.finger_1, data.0; []: all fields of the type')
    apply: Apply = Apply()
    max_age: float = Field(
        0.2, ge=0.001, le=3600, description='s; without a newer sample the source is silent')
    frame: str = Field(
        '', max_length=200, description='frame in which the values are needed: base, tool, or a '
        "site or body of the robot's model; messages in another frame of the model are "
        "transformed; '': values as received, unchecked")
    child: str = Field(
        '', max_length=200, description='TFMessage only: the frame whose pose in `frame` is '
        'needed')
    silent: Literal['stop', 'warn', 'hold'] = Field(
        'stop', description='reaction when no sample is newer than max_age: stop, warn, or '
        'neither (hold); with warn and hold the newest sample stays in use, never zeros')
    wrong: Literal['stop', 'warn'] = Field(
        'stop', description='reaction to samples that are not finite, malformed, in an unknown '
        'frame, frozen or often out of order: stop or warn; such samples are never used')
    frozen: int = Field(
        0, ge=0, le=100_000, description='number of consecutive samples with identical values '
        'that count as frozen; 0: no check')
    camera: Optional[Camera] = Field(
        None, description='Image and CompressedImage only: conversion of images to values')

    @field_validator('type')
    @classmethod
    def _known(cls, value: str) -> str:
        name = SHORT.get(value, value)
        if name not in TYPES:
            raise ValueError(f'none of {sorted(SHORT)}' + nearest(value, sorted(SHORT)))
        return name

    @model_validator(mode='after')
    def _whole(self) -> 'Source':
        if self.type in NEED_SELECT and not self.select:
            raise ValueError(f'select: source {self.name!r} of type JointState has to say which '
                             'joints, for instance [position.finger_1]')
        if len(set(self.select)) < len(self.select):
            raise ValueError(f'select: source {self.name!r} has a field twice: {self.select}')
        if (self.type == TF) != bool(self.child):
            raise ValueError(f'child: source {self.name!r}: a TFMessage needs it, and nothing '
                             'else takes it')
        if self.type == TF and not self.frame:
            raise ValueError(f'frame: source {self.name!r}: a TFMessage needs the frame that '
                             f'the pose of {self.child!r} is wanted in')
        if not TOPIC.match(self.topic or ('' if self.type == TF else self.name)):
            raise ValueError(f'topic: source {self.name!r}: {self.topic or self.name!r} is no '
                             'name of a ROS topic: letters, digits and _, with / between them')
        self._check_camera()
        return self

    def _check_camera(self) -> None:
        if (self.type in IMAGES) != (self.camera is not None):
            raise ValueError(f'camera: source {self.name!r}: an image needs it, with its encoder, '
                             'and nothing else takes it')
        if self.camera is not None and self.frame:
            raise ValueError(f"frame: source {self.name!r}: an encoder's values have none")

    @property
    def on(self) -> str:
        """Return the topic of the values; for a camera, the topic of its encoder."""
        if self.camera is not None:
            return f'{self.images}/{self.name}'
        return self.topic or ('/tf' if self.type == TF else self.name)

    @property
    def images(self) -> str:
        """Return the topic of a camera's images."""
        return self.topic or self.name


def anchor_sources(sources: Sequence[Source], folder: Path) -> list[Source]:
    """Return sources with absolute encoder paths; relative paths are relative to `folder`."""
    return [one if one.camera is None or one.camera.encoder.startswith('package://')
            else one.model_copy(update={'camera': one.camera.model_copy(update={
                'encoder': str(absolute(folder / expanded(one.camera.encoder)))})})
            for one in sources]
