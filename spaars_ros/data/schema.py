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

"""Step record: one control tick as one row of float64 values, with named fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

VERSION = 2
"""
Version of the record format. Version 2 adds given reward, outcome, budget, robot, external motion
and ages of the sources.
"""
PHASES = ('warm-up', 'latent', 'gated')
"""Phases of online learning; an algorithm without a gate stays in the second."""
MAX_WIDTH = 100_000
"""Greatest width of one field; a layout with a wider field is taken as damaged."""
MAX_VALUE = 1e6
"""Greatest magnitude of state and action values; no arm has larger values in rad, rad/s or N m."""


@dataclass(frozen=True)
class RobotState:
    """State that the robot reported, in the joint order of the robot file."""

    stamp_ns: int
    position: Array
    """(d,) rad."""
    velocity: Array
    """(d,) rad/s."""
    effort: Array
    """(d,) N m."""


class Flag(IntEnum):
    """Why the episode ended with this record; every value except RUNNING ends it."""

    RUNNING = 0
    TERMINATED = 1
    """By the task: success or failure."""
    TRUNCATED = 2
    """By the time limit."""
    ABORTED = 3
    """By a stop."""
    PERSON = 4
    """By a person who judged the episode or started the next one."""


class Outcome(IntEnum):
    """Result of an episode, separate from the reason of its end."""

    UNLABELLED = 0
    RUNNING = 0
    """For a state of an unfinished episode: nothing is decided yet."""
    SUCCESS = 1
    FAILURE = 2
    DISCARDED = 3
    """A person decided that nothing is to be learned from the episode."""


class Mode(IntEnum):
    """Who chose the action: one of the policies, nobody, or a person."""

    LATENT = 0
    RAW = 1
    NONE = 2
    HUMAN = 3


class Budget(IntEnum):
    """Cost of the episode compared to its cost limit."""

    WITHIN = 0
    WARNED = 1
    """The episode has spent its limit; nothing restricts it."""
    HELD = 2
    """
    The episode has spent its limit and continues restricted by the filter or to the pretrained
    policy.
    """


class StepSchema:
    """
    Names, widths and offsets of the fields of a step record.

    :param observation: width of the task's observation
    :param latent: width of the latent action
    :param action: width of the action
    :param joints: number of joints; None: as many as the action has values
    :param sources: number of the task's sources
    :param version: of the format; readers also accept 1 (release 0.1.0), writers use the newest
    """

    def __init__(self, *, observation: int, latent: int, action: int, joints: int | None = None,
                 sources: int = 0, version: int = VERSION) -> None:
        self.observation = observation
        self.latent = latent
        self.action = action
        self.joints = action if joints is None else joints
        self.sources = sources
        self.version = version
        widths = {
            'sequence': 1, 'episode': 1, 'index': 1, 'stamp': 1, 'flag': 1, 'mode': 1,
            'gate': 1, 'margin': 1, 'intervention': 1, 'bundle_version': 1, 'lost_ticks': 1,
            'latency': 1, 'skill_step': 1, 'observation': observation, 'latent': latent,
            'latent_action': action, 'raw_action': action, 'asked_action': action,
            'action': action, 'effort': self.joints,
        }
        if version > 1:
            # New fields come after those of version 1, since `upgraded` appends zeros.
            widths.update({
                'reward_given': 1, 'reward': 1, 'outcome': 1, 'budget': 1, 'robot': 1,
                'external_motion': 1, 'ages': sources})
        self.fields: dict[str, slice] = {}
        offset = 0
        for name, width in widths.items():
            self.fields[name] = slice(offset, offset + width)
            offset += width
        self.width = offset

    def row(self, **values: Any) -> Array:
        """Return one record (width,); missing fields are 0. Raises ValueError on a wrong width."""
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
        """Return a field of one row or of many rows; fields of width 1 lose their last axis."""
        place = self.fields[name]
        part = rows[..., place]
        return part[..., 0] if place.stop - place.start == 1 else part

    def set(self, row: Array, name: str, value: Any) -> None:
        """Set a field of a record in place."""
        row[self.fields[name]] = value

    def view(self, row: Array) -> dict[str, Any]:
        """Return the record as a dict of floats and arrays."""
        return {name: self.get(row, name) for name in self.fields}

    @property
    def current(self) -> 'StepSchema':
        """Return the schema of the newest version with the same widths."""
        return self if self.version == VERSION else StepSchema(
            observation=self.observation, latent=self.latent, action=self.action,
            joints=self.joints, sources=self.sources)

    def upgraded(self, rows: Array) -> Array:
        """Return records (..., width) in the layout of `current`; new fields are 0."""
        more = self.current.width - self.width
        return rows if not more else np.concatenate(
            [rows, np.zeros((*rows.shape[:-1], more))], axis=-1)

    def to_json(self) -> str:
        """Return the schema as JSON, for `from_json`."""
        return json.dumps({'version': self.version, 'observation': self.observation,
                           'latent': self.latent, 'action': self.action, 'joints': self.joints,
                           'sources': self.sources, 'width': self.width})

    @classmethod
    def of_fields(cls, fields: Mapping[str, int]) -> 'StepSchema':
        """Return the schema, of any version, with exactly these fields; raises ValueError."""
        missing = [name for name in ('observation', 'latent', 'action', 'effort')
                   if name not in fields]
        if missing:
            raise ValueError(f'step messages have no field {missing[0]!r}')
        for version in range(VERSION, 0, -1):
            schema = cls(observation=fields['observation'], latent=fields['latent'],
                         action=fields['action'], joints=fields['effort'],
                         sources=fields.get('ages', 0), version=version)
            if list(fields.items()) == [(name, place.stop - place.start)
                                        for name, place in schema.fields.items()]:
                return schema
        raise ValueError(f'fields {list(fields)} are not those of this version')

    @classmethod
    def from_json(cls, text: str) -> 'StepSchema':
        """Return the schema for a text of `to_json`; raises ValueError for any other text."""
        try:
            content = json.loads(text)
            widths = {name: content[name] for name in ('observation', 'latent', 'action')}
            widths.update(joints=content.get('joints', widths['action']),
                          sources=content.get('sources', 0))
            width, version = content['width'], content.get('version', 1)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f'not a record layout: {error!r}') from None
        for name, value in widths.items():
            if type(value) is not int or not 0 <= value <= MAX_WIDTH:
                raise ValueError(f'not a record layout: {name} is {str(value)[:50]}')
        if type(version) is not int or not 1 <= version <= VERSION:
            raise ValueError(f'record layout of version {str(version)[:50]}, this reads 1 to '
                             f'{VERSION}')
        schema = cls(**widths, version=version)
        if schema.width != width:
            raise ValueError(f'record width {str(width)[:50]}, expected {schema.width}: '
                             'written by another version')
        return schema

    def __eq__(self, other: object) -> bool:
        """Return whether the other schema has the same fields."""
        return isinstance(other, StepSchema) and self.fields == other.fields

    def __hash__(self) -> int:
        """Return a hash of what determines the fields."""
        return hash((self.observation, self.latent, self.action, self.version))
