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

"""The step record: one control tick as one row of float64, named field by field."""

from dataclasses import dataclass
from enum import IntEnum
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_WIDTH = 100_000
"""Of one field; beyond it a layout is taken for broken."""


@dataclass(frozen=True)
class RobotState:
    """What the robot reported, in the robot file's joint order."""

    stamp_ns: int
    position: Array
    """(d,) rad."""
    velocity: Array
    """(d,) rad/s."""
    effort: Array
    """(d,) N m."""


class Flag(IntEnum):
    """How the episode stands after this record; all but RUNNING close it."""

    RUNNING = 0
    TERMINATED = 1
    TRUNCATED = 2
    ABORTED = 3


class Mode(IntEnum):
    """Which policy decided."""

    LATENT = 0
    RAW = 1
    NONE = 2


class StepSchema:
    """
    Names, widths and places of a step record's fields.

    :param observation: length of the task's observation
    :param latent: length of the latent action
    :param action: number of joints
    """

    def __init__(self, *, observation: int, latent: int, action: int) -> None:
        self.observation = observation
        self.latent = latent
        self.action = action
        widths = {
            'sequence': 1, 'episode': 1, 'index': 1, 'stamp': 1, 'flag': 1, 'mode': 1,
            'gate': 1, 'margin': 1, 'intervention': 1, 'bundle_version': 1, 'lost_ticks': 1,
            'latency': 1, 'skill_step': 1, 'observation': observation, 'latent': latent,
            'latent_action': action, 'raw_action': action, 'asked_action': action,
            'action': action, 'effort': action,
        }
        self.fields: dict[str, slice] = {}
        offset = 0
        for name, width in widths.items():
            self.fields[name] = slice(offset, offset + width)
            offset += width
        self.width = offset

    def row(self, **values: Any) -> Array:
        """Return one record; fields that are not given are 0. Raises on a wrong width."""
        row = np.zeros(self.width)
        for name, value in values.items():
            place = self.fields[name]
            array = np.asarray(value, dtype=np.float64).reshape(-1)
            if array.size != place.stop - place.start:
                raise ValueError(f'{name} has {array.size} values, its field '
                                 f'{place.stop - place.start}')
            row[place] = array
        return row

    def get(self, rows: Array, name: str) -> Array:
        """Return a field of one row or of many; width-1 fields lose their last axis."""
        place = self.fields[name]
        part = rows[..., place]
        return part[..., 0] if place.stop - place.start == 1 else part

    def set(self, row: Array, name: str, value: Any) -> None:
        """Write a field of a record in place."""
        row[self.fields[name]] = value

    def view(self, row: Array) -> dict[str, Any]:
        """Return the record as a dict of floats and arrays."""
        return {name: self.get(row, name) for name in self.fields}

    def to_json(self) -> str:
        """Return what `from_json` needs to build the same schema elsewhere."""
        return json.dumps({'observation': self.observation, 'latent': self.latent,
                           'action': self.action, 'width': self.width})

    @classmethod
    def from_json(cls, text: str) -> 'StepSchema':
        """Build a schema from `to_json`'s text; raises ValueError on all else."""
        try:
            content = json.loads(text)
            observation, latent, action = (
                content[name] for name in ('observation', 'latent', 'action'))
            width = content['width']
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f'not a record layout: {error!r}') from None
        for name, value in (('observation', observation), ('latent', latent), ('action', action)):
            if type(value) is not int or not 0 <= value <= MAX_WIDTH:
                raise ValueError(f'not a record layout: {name} is {str(value)[:50]}')
        schema = cls(observation=observation, latent=latent, action=action)
        if schema.width != width:
            raise ValueError(f'record width {str(width)[:50]}, expected {schema.width}: '
                             'written by another version')
        return schema

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StepSchema) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash((self.observation, self.latent, self.action))
