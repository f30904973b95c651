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

"""Robot file: all fields with their units and ranges."""

from pathlib import Path
from typing import Annotated
from typing import Literal
from typing import Optional
from typing import Union

from pydantic import Field
from pydantic import model_validator

from spaars_ros.robot.files import find_file
from spaars_ros.robot.files import load_model
from spaars_ros.robot.files import PACKAGE as PACKAGE
from spaars_ros.robot.files import share_directory as share_directory
from spaars_ros.robot.files import Strict
from spaars_ros.robot.resources import absolute
from spaars_ros.robot.resources import resolve
from spaars_ros.robot.sources import anchor_sources
from spaars_ros.robot.sources import Source
from spaars_ros.robot.strict_yaml import ConfigError as ConfigError

ACCELERATION_TIME = 0.2
"""s to reach a joint's velocity limit; used if a robot file gives no acceleration limits."""
JERK_TIME = 0.002
"""s to reach a joint's acceleration limit; used if a robot file gives no jerk limits."""

Coordinate = Annotated[float, Field(ge=-100, le=100)]
Length = Annotated[float, Field(ge=0.001, le=100)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Point = tuple[Coordinate, Coordinate, Coordinate]


class Limits(Strict):
    """Joint limits, one entry per joint, in the order of `joints`; m for a slide joint."""

    position: list[tuple[Coordinate, Coordinate]] = Field(
        description='rad, lower and upper limit, -100 to 100')
    velocity: list[Annotated[float, Field(ge=0.001, le=100)]] = Field(
        description='rad/s, 0.001 to 100')
    acceleration: list[Annotated[float, Field(ge=0.001, le=10_000)]] = Field(
        [], description='rad/s^2, 0.001 to 10000; if omitted: reaches the velocity limit in '
        f'{ACCELERATION_TIME:g} s')
    jerk: list[Annotated[float, Field(ge=0.1, le=10_000_000)]] = Field(
        [], description='rad/s^3, 0.1 to 10000000; if omitted: reaches the acceleration limit in '
        f'{JERK_TIME:g} s')
    torque: list[Annotated[float, Field(ge=0.001, le=100_000)]] = Field(
        description='N m, 0.001 to 100000')
    margin: float = Field(
        0.005, ge=0, le=1, description='rad, distance kept from both ends of `position`, for '
        'servo overshoot and encoder errors')

    @model_validator(mode='after')
    def _has_accelerations(self) -> 'Limits':
        for name, of, time in (('acceleration', self.velocity, ACCELERATION_TIME),
                               ('jerk', None, JERK_TIME)):
            if name not in self.model_fields_set:
                given = self.acceleration if of is None else of
                object.__setattr__(self, name, [round(value / time, 9) for value in given])
        return self


class Control(Strict):
    """Control of the arm by the policy server."""

    rate: float = Field(20.0, ge=1, le=1000, description='Hz, control ticks per second')
    command_interface: Literal['forward_velocity', 'forward_position', 'joint_trajectory'] = \
        'forward_velocity'
    action_scale: float = Field(
        0.25, ge=0.001, le=1, description='joint velocity at |action| = 1, as a share of the '
        'velocity limit')
    delay: int = Field(
        1, ge=0, le=20, description='largest number of control ticks until the arm moves as '
        'commanded (transport and servo lag); the safety filter predicts this far ahead')
    timeout: float = Field(
        0.0, ge=0.0, le=2.0, description='s without commands after which the controller itself '
        'stops the arm; the filter keeps enough distance from limits and zones for a last command '
        'that lasts this long, as when the server dies, and therefore limits the speed there; 0: '
        'it keeps no such distance')


class Protecting(Strict):
    """What must stay outside a keep-out zone."""

    protects: Literal['tip', 'arm'] = Field(
        'tip', description='part that stays outside; tip: the tool tip; arm: every moving link, '
        'with the geoms of the MJCF model')


class Sphere(Protecting):
    """A sphere that the tool tip, or the arm, must stay outside of."""

    shape: Literal['sphere']
    name: Name
    centre: Point = Field(description='m, base frame, -100 to 100')
    radius: float = Field(ge=0.001, le=100, description='m')


class Cylinder(Protecting):
    """An upright cylinder that the tool tip, or the arm, must stay outside of."""

    shape: Literal['cylinder']
    name: Name
    centre: Point = Field(description='m, base frame, centre of the axis, -100 to 100')
    radius: float = Field(ge=0.001, le=100, description='m')
    height: float = Field(ge=0.001, le=100, description='m')


class Box(Protecting):
    """An axis-aligned box (base frame) that the tool tip, or the arm, must stay outside of."""

    shape: Literal['box']
    name: Name
    centre: Point = Field(description='m, base frame, -100 to 100')
    size: tuple[Length, Length, Length] = Field(
        description='m, full edge lengths, 0.001 to 100')


class Workspace(Strict):
    """An axis-aligned box (base frame) that the tool tip must stay inside of."""

    low: Point = Field(description='m, base frame, -100 to 100')
    high: Point = Field(description='m, base frame, -100 to 100')

    @model_validator(mode='after')
    def _not_empty(self) -> 'Workspace':
        for axis, low, high in zip('xyz', self.low, self.high):
            if not low < high:
                raise ValueError(f'{axis}: low {low} is not below high {high}')
        return self


class Targets(Workspace):
    """An axis-aligned box (base frame) of targets, for tasks whose files give none."""


Zone = Annotated[Union[Sphere, Cylinder, Box], Field(discriminator='shape')]


class Constraint(Strict):
    """A constraint on cost: the sum of its cost terms, measured as `kind` says, up to a limit."""

    name: Name
    terms: list[str] = Field(
        min_length=1, description='cost terms; each adds 1 to the cost of a step in which it is '
        'violated: the terms of the task (zone_margin, tip_speed), torque, takeover (a person '
        'acts) and intervention (the safety filter changed the action)')
    limit: float = Field(
        ge=0, le=1_000_000, description='cost per episode, or in the unit of `kind`')
    kind: Literal['episode', 'step', 'discounted'] = Field(
        'episode', description='quantity that the limit bounds: the sum over an episode, the mean '
        'cost per step, or the discounted sum from the start of the episode')

    @model_validator(mode='after')
    def _each_term_once(self) -> 'Constraint':
        if len(set(self.terms)) < len(self.terms):
            raise ValueError(f'terms of {self.name}: {self.terms} has one twice')
        return self


class Robot(Strict):
    """Robot file: everything that the software needs to know about the arm."""

    name: Name
    model: Name = Field(description='MJCF file: absolute, relative to this file, or '
                                   'package://<python package>/<path>')
    joints: list[Name] = Field(min_length=1, max_length=64)
    tip: Name = Field(description='tool tip: site or body of the MJCF model')
    tip_offset: Point = Field(
        (0.0, 0.0, 0.0), description='m, position of the tip in the frame of that site or body, '
        '-100 to 100')
    home: list[Coordinate] = Field(description='rad, home position, -100 to 100')
    limits: Limits
    control: Control = Control()
    keep_out: list[Zone] = Field([], max_length=200)
    workspace: Optional[Workspace] = Field(
        None, description='box that the tip must stay inside of; none: no such box')
    targets: Optional[Targets] = Field(
        None, description='box of targets for reaching tasks whose file gives none; none: a box '
        'in front of home that the arm can reach')
    tip_speed: Optional[float] = Field(
        None, ge=0.001, le=100, description='m/s, limit of the tip speed; none: no limit')
    self_collision: bool = Field(
        True, description='keep links apart that are not neighbours, with the geoms of the MJCF '
        'model')
    collision_ignore: list[tuple[Name, Name]] = Field(
        [], description='pairs of bodies or geoms of the MJCF model whose distance is not limited')
    clearance: float = Field(
        0.005, ge=0.0001, le=1, description='m, distance that the filter keeps from zones, from '
        'the faces of the workspace and between links; half of it is for tracking error')
    zone_margin: float = Field(
        0.02, ge=0, le=10, description='m, distance from a zone within which the cost term '
        'zone_margin counts')
    near_zone: float = Field(
        0.10, ge=0, le=10, description='m, distance from a zone within which the cost term '
        'tip_speed counts')
    near_speed: float = Field(
        0.25, ge=0.001, le=100, description='m/s, tip speed allowed within near_zone')
    constraints: list[Constraint] = Field([], max_length=64)
    velocity: Literal['measured', 'derived'] = Field(
        'measured', description='derived: computed from positions, for a robot that reports no '
        'velocities or wrong ones')
    effort: Literal['measured', 'none'] = Field(
        'measured', description='none: for a robot that reports no efforts; a constraint on '
        'torque is then rejected')
    sources: list[Source] = Field(
        [], max_length=64, description='topics in addition to joint_states that tasks may '
        'observe; a source of the task file with the same name replaces one of these')
    source: str = Field('', description='set on loading: the file it came from')

    @model_validator(mode='after')
    def _one_entry_a_joint(self) -> 'Robot':
        n = len(self.joints)
        for name in ('position', 'velocity', 'acceleration', 'jerk', 'torque'):
            got = len(getattr(self.limits, name))
            if got != n:
                raise ValueError(f'limits.{name} has {got} entries for {n} joints')
        if len(self.home) != n:
            raise ValueError(f'home has {len(self.home)} entries for {n} joints')
        for joint, (low, high), home in zip(self.joints, self.limits.position, self.home):
            if not low + 2 * self.limits.margin < high:
                raise ValueError(f'limits.position of {joint}: {low} is not below {high} by more '
                                 f'than twice the margin of {self.limits.margin}')
            if not low <= home <= high:
                raise ValueError(f'home of {joint}: {home} is outside [{low}, {high}]')
        return self

    @model_validator(mode='after')
    def _torque_is_measured(self) -> 'Robot':
        for constraint in self.constraints:
            if self.effort == 'none' and 'torque' in constraint.terms:
                raise ValueError(f'constraints: {constraint.name!r} has the term torque, which '
                                 'nothing measures with effort: none; take the term out')
        return self

    @model_validator(mode='after')
    def _each_name_once(self) -> 'Robot':
        for field, names in (('joints', self.joints),
                             ('keep_out', [zone.name for zone in self.keep_out]),
                             ('constraints', [each.name for each in self.constraints]),
                             ('sources', [each.name for each in self.sources])):
            twice = [name for number, name in enumerate(names) if name in names[:number]]
            if twice:
                raise ValueError(f'{field}: {twice[0]!r} is there twice: each name has to be '
                                 'another')
        return self

    @property
    def period(self) -> float:
        """Return the control period in s."""
        return 1.0 / self.control.rate

    @property
    def model_path(self) -> Path:
        """Return the path of the model file; raises ConfigError without its package."""
        try:
            path = resolve(self.model)
        except ConfigError as error:
            raise ConfigError(f'{self.source}: model: {error}') from None
        return path if path.is_absolute() else Path(self.source).parent / path


def load_robot(name: str = 'panda') -> Robot:
    """Load a robot file by path, or by name from `config/robot/`; raises ConfigError."""
    path = find_file(str(name), 'robot')
    robot = load_model(Robot, path, source=str(absolute(path)))
    return robot.model_copy(update={'sources': anchor_sources(robot.sources, path.parent)})
