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

"""Robot and task files: read from YAML, checked field by field."""

from pathlib import Path
import sys
from typing import Annotated
from typing import Any
from typing import Literal
from typing import Optional
from typing import Union

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import model_validator
from pydantic import ValidationError
import yaml

PACKAGE = Path(__file__).resolve().parent.parent


class ConfigError(ValueError):
    """A configuration file is wrong; the message names the file, the field and the value."""


def share_directory() -> Path:
    """Return the directory that holds `config/` and `launch/`: ament prefix, checkout or wheel."""
    checkout = PACKAGE.parent
    if (checkout / 'config' / 'robot').is_dir():
        return checkout
    try:
        from ament_index_python.packages import get_package_share_directory
        return Path(get_package_share_directory('spaars_ros'))
    except (ImportError, LookupError, OSError):  # OSError: no AMENT_PREFIX_PATH
        return Path(sys.prefix) / 'share' / 'spaars_ros'


class Strict(BaseModel):
    """A file section: unknown keys are errors, not silently ignored limits."""

    model_config = ConfigDict(extra='forbid', frozen=True)


class Limits(Strict):
    """Joint limits, one entry a joint, in the order of `joints`."""

    position: list[tuple[float, float]] = Field(description='rad, lower and upper')
    velocity: list[float] = Field(description='rad/s')
    acceleration: list[float] = Field(description='rad/s^2')
    jerk: list[float] = Field(description='rad/s^3')
    torque: list[float] = Field(description='N m')
    margin: float = Field(
        0.005, ge=0, description='rad, kept from both ends of `position`: for what a servo '
        'overshoots and an encoder errs')


class Control(Strict):
    """How the policy server drives the arm."""

    rate: float = Field(20.0, gt=0, le=1000, description='control ticks a second, Hz')
    command_interface: Literal['forward_velocity', 'forward_position', 'joint_trajectory'] = \
        'forward_velocity'
    action_scale: float = Field(
        0.25, gt=0, le=1, description='joint velocity at |action| = 1, as a share of its limit')
    delay: int = Field(
        1, ge=0, le=20, description='control ticks, at most, until the arm moves as commanded: '
        'transport and the lag of its servo; the safety filter looks so far ahead')


class Protecting(Strict):
    """What a keep-out zone keeps out."""

    protects: Literal['tip', 'arm'] = Field(
        'tip', description='tip: the tool tip stays outside; arm: every moving link does, with '
        'the geoms of the MJCF model')


class Sphere(Protecting):
    """A ball that the tool tip, or the arm, keeps out of."""

    shape: Literal['sphere']
    name: str
    centre: tuple[float, float, float] = Field(description='m, base frame')
    radius: float = Field(gt=0, description='m')


class Cylinder(Protecting):
    """An upright cylinder that the tool tip, or the arm, keeps out of."""

    shape: Literal['cylinder']
    name: str
    centre: tuple[float, float, float] = Field(description='m, base frame, middle of the axis')
    radius: float = Field(gt=0, description='m')
    height: float = Field(gt=0, description='m')


class Box(Protecting):
    """An upright box that the tool tip, or the arm, keeps out of."""

    shape: Literal['box']
    name: str
    centre: tuple[float, float, float] = Field(description='m, base frame')
    size: tuple[float, float, float] = Field(description='m, full edge lengths')


class Workspace(Strict):
    """An upright box that the tool tip stays in."""

    low: tuple[float, float, float] = Field(description='m, base frame')
    high: tuple[float, float, float] = Field(description='m, base frame')

    @model_validator(mode='after')
    def _not_empty(self) -> 'Workspace':
        for axis, low, high in zip('xyz', self.low, self.high):
            if not low < high:
                raise ValueError(f'workspace {axis}: {low} is not below {high}')
        return self


Zone = Annotated[Union[Sphere, Cylinder, Box], Field(discriminator='shape')]


class Constraint(Strict):
    """A cost that the operator limits: the sum of its terms, measured as `kind` says."""

    name: str
    terms: list[Literal['zone_margin', 'tip_speed', 'torque', 'intervention']] = Field(
        description='each adds 1 to the cost of a step in which it is violated; intervention: '
                    'in which the safety filter changed the action')
    limit: float = Field(ge=0, description='cost per episode, or as kind says')
    kind: Literal['episode', 'step', 'discounted'] = Field(
        'episode', description='what the limit is about: the sum over an episode, the mean cost '
                               'a step, or the sum discounted from the start of the episode')


class Robot(Strict):
    """A robot file: everything about the arm that the software has to know."""

    name: str
    model: str = Field(description='MJCF file: absolute, relative to this file, or '
                                   'package://<python package>/<path>')
    joints: list[str] = Field(min_length=1)
    tip: str = Field(description='site or body of the MJCF model that is the tool tip')
    tip_offset: tuple[float, float, float] = Field(
        (0.0, 0.0, 0.0), description='m, tip in the frame of the site or body')
    home: list[float] = Field(description='rad')
    limits: Limits
    control: Control = Control()
    keep_out: list[Zone] = []
    workspace: Optional[Workspace] = Field(None, description='none: the tip may go anywhere')
    tip_speed: Optional[float] = Field(None, gt=0, description='m/s, of the tip; none: no limit')
    self_collision: bool = Field(
        True, description='keep links that are no neighbours apart, with the geoms of the MJCF '
        'model')
    collision_ignore: list[tuple[str, str]] = Field(
        [], description='pairs of bodies or geoms of the MJCF model that may come close')
    clearance: float = Field(
        0.005, gt=0, description='m, that the filter keeps from zones, from the faces of the '
        'workspace and between links; half of it is for tracking error')
    zone_margin: float = Field(0.02, ge=0, description='m, cost inside this distance of a zone')
    near_zone: float = Field(0.10, ge=0, description='m, tip_speed counts inside this distance')
    near_speed: float = Field(0.25, gt=0, description='m/s, tip speed allowed there')
    constraints: list[Constraint] = []
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
            if not low < high:
                raise ValueError(f'limits.position of {joint}: {low} is not below {high}')
            if not low <= home <= high:
                raise ValueError(f'home of {joint}: {home} is outside [{low}, {high}]')
        for name in ('velocity', 'acceleration', 'jerk', 'torque'):
            for joint, value in zip(self.joints, getattr(self.limits, name)):
                if not value > 0:
                    raise ValueError(f'limits.{name} of {joint}: {value} is not above 0')
        return self

    @property
    def period(self) -> float:
        """Return the control period in s."""
        return 1.0 / self.control.rate

    @property
    def model_path(self) -> Path:
        """Return the MJCF file behind `model`."""
        if self.model.startswith('package://'):
            package, _, rest = self.model[len('package://'):].partition('/')
            if package == 'spaars_ros':
                return PACKAGE / rest
            from importlib.util import find_spec
            spec = find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                raise ConfigError(f'{self.source}: model: {self.model!r}: the package '
                                  f'{package!r} is not installed')
            return Path(list(spec.submodule_search_locations)[0]) / rest
        path = Path(self.model)
        return path if path.is_absolute() else Path(self.source).parent / path


class TaskSettings(Strict):
    """A task file: reach a random target past the keep-out zone and hold there."""

    name: str = 'reach'
    target_low: tuple[float, float, float] = Field(description='m, base frame')
    target_high: tuple[float, float, float] = Field(description='m, base frame')
    start_noise: float = Field(0.05, ge=0, description='rad, uniform, about the home position')
    horizon: int = Field(100, ge=2, description='control ticks per episode')
    tolerance: float = Field(0.010, gt=0, description='m, tip error that counts as reached')
    hold: int = Field(10, ge=1, description='ticks at the end of the episode within tolerance')


def flatten(error: ValidationError) -> str:
    """Return a validation error as one line that names fields and values."""
    lines = []
    for item in error.errors():
        where = '.'.join(str(part) for part in item['loc']) or 'file'
        if item['type'] == 'extra_forbidden':
            lines.append(f'unknown key {where!r} (value {item["input"]!r})')
        elif item['type'] == 'missing':
            lines.append(f'missing key {where!r}')
        elif where == 'file':
            lines.append(item['msg'].removeprefix('Value error, '))
        else:
            lines.append(f'{where}: {item["msg"]} (value {item["input"]!r})')
    return '; '.join(lines)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping, or raise ConfigError naming the file."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f'{path}: {error.strerror}') from None
    except yaml.YAMLError as error:
        raise ConfigError(f'{path}: not YAML: {error}') from None
    if not isinstance(content, dict):
        raise ConfigError(f'{path}: expected a mapping, found {type(content).__name__}')
    return content


def find_file(name: str, kind: str) -> Path:
    """Return a file given by path, or by name among those that ship with the package."""
    path = Path(name)
    if path.is_file() or path.suffix in ('.yaml', '.yml') and path.parent != Path('.'):
        return path
    shipped = share_directory() / 'config' / kind / (path.stem + '.yaml')
    if shipped.exists():
        return shipped
    known = sorted(p.stem for p in (share_directory() / 'config' / kind).glob('*.yaml'))
    raise ConfigError(f'{kind} file {name!r}: no such file, nor one of {known}')


def load_robot(name: str = 'panda') -> Robot:
    """Read a robot file by path, or by name from `config/robot/`; raises ConfigError."""
    path = find_file(str(name), 'robot')
    content = read_yaml(path)
    try:
        return Robot(**{**content, 'source': str(path.resolve())})
    except ValidationError as error:
        raise ConfigError(f'{path}: {flatten(error)}') from None


def load_task(name: str = 'reach') -> TaskSettings:
    """Read a task file by path, or by name from `config/task/`; raises ConfigError."""
    path = find_file(str(name), 'task')
    try:
        return TaskSettings(**read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f'{path}: {flatten(error)}') from None
