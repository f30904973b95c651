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

"""Robot, task and training files: read from YAML, checked field by field."""

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

PACKAGE = Path(__file__).resolve().parent


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
        0.002, ge=0, description='rad, kept from both ends of `position`: for what a servo '
        'overshoots and an encoder errs')


class Control(Strict):
    """How the policy server drives the arm."""

    rate: float = Field(20.0, gt=0, le=1000, description='control ticks a second, Hz')
    command_interface: Literal['forward_velocity', 'forward_position', 'joint_trajectory'] = \
        'forward_velocity'
    action_scale: float = Field(
        0.25, gt=0, le=1, description='joint velocity at |action| = 1, as a share of its limit')
    delay: int = Field(
        1, ge=0, le=5, description='control ticks, at most, until the arm moves as commanded: '
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
    limit: float = Field(ge=0, description='cost an episode, or as kind says')
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
    horizon: int = Field(100, ge=2, description='control ticks an episode')
    tolerance: float = Field(0.010, gt=0, description='m, tip error that counts as reached')
    hold: int = Field(10, ge=1, description='ticks at the end of the episode within tolerance')


class Training(Strict):
    """A training file: the algorithm and every constant that it uses."""

    algorithm: Literal['spaars', 'bc', 'iql', 'rlpd', 'sac', 'plas', 'marvel', 'cpq',
                       'sac-lagrangian', 'sac-pid'] = Field(
        'spaars', description='what is learned; the robot runs spaars, the others are baselines '
        'of `spaars train`')
    mode: Literal['gated', 'latent-only', 'raw-only', 'hard-switch'] = Field(
        'gated', description='gated: SPAARS; the others are its ablations (hard-switch: raw '
        'everywhere after the hand-over)')
    demonstrations: str = Field(
        'package://spaars_ros/data/demonstrations/panda_reach.h5',
        description='HDF5 data set, or package://<python package>/<path>')

    width: int = Field(128, ge=8, description='units of every hidden layer')
    heads: int = Field(4, ge=2, description='critic heads')
    latent_dim: int = Field(4, ge=1, description='k; the variance argument wants k <= d')
    latent_bound: float = Field(2.0, gt=0, description='|z| <= bound')
    batch: int = Field(128, ge=2, description='transitions an update, half of them offline')
    learning_rate: float = Field(3e-4, gt=0, description='Adam, online')
    offline_learning_rate: float = Field(1e-3, gt=0, description='Adam, offline')
    gamma: float = Field(0.97, ge=0, lt=1, description='discount a tick')
    n_step: int = Field(3, ge=1, description='steps of the return before it bootstraps')
    tau: float = Field(0.005, gt=0, le=1, description='Polyak rate of the target critic')
    reward_scale: float = Field(0.2, gt=0, description='on rewards and costs alike')

    shaping: float = Field(20.0, ge=0, description='weight of the potential of the task '
                           'in potential-based shaping; 0 for none')

    relabel: float = Field(0.5, ge=0, le=1, description='share of transitions with hindsight '
                           'goals, from value pre-alignment on; not for CVAE, IQL and BC')

    cvae_steps: int = Field(6000, ge=0, description='offline updates of the CVAE')
    kl_weight: float = Field(0.05, ge=0, description='on the mean KL, against the mean squared '
                             'error in units of the action variance')
    iql_steps: int = Field(5000, ge=0, description='offline updates of IQL, AWR and BC')
    expectile: float = Field(0.7, gt=0.5, lt=1, description='IQL')
    temperature: float = Field(3.0, ge=0, description='AWR inverse temperature')
    align_steps: int = Field(3000, ge=0, description='offline value pre-alignment: the critic '
                             'evaluates the pretrained policy')

    utd: float = Field(2.0, ge=0, description='updates an environment step')
    warmup_steps: int = Field(500, ge=0, description='environment steps without updates')
    critic_steps: int = Field(500, ge=0, description='environment steps after warm-up in which '
                              'only the critic learns')
    min_latent_steps: int = Field(1500, ge=0, description='environment steps before hand-over')
    max_latent_steps: int = Field(3000, ge=0, description='hand-over at the latest, once the BC '
                                  'bound holds')
    plateau_window: int = Field(250, ge=1, description='environment steps a window')
    plateau_tolerance: float = Field(0.05, gt=0, description='relative change of novelty')
    plateau_windows: int = Field(2, ge=1, description='calm windows running')
    plateau: bool = Field(True, description='hand over at the plateau of novelty; false: after '
                          'max_latent_steps')
    bc_bound: float = Field(0.15, gt=0, description='|raw - decoded| that hand-over needs')
    concurrent_bc: bool = Field(True, description='raw imitates the decoder in the latent phase; '
                                'false: it stays as cloned from the data, and hand-over does not '
                                'ask for bc_bound')
    gate_tolerance: float = Field(2.0, gt=0, description='the gate shuts while the TD error after '
                                  'raw actions is this many times that after latent ones')
    kappa: float = Field(0.5, ge=0, description='gate: standard deviations below the mean')
    explore_kappa: float | None = Field(None, description='`spaars train`: kappa of the gate '
                                        'while exploring; negative is optimistic, so that raw '
                                        'actions are tried where the heads disagree; null: as '
                                        'kappa. The robot always takes kappa')
    actor_kappa: float = Field(1.0, ge=0, description='policies climb this many standard '
                               'deviations of the heads below their mean')
    min_margin: float = Field(0.0, ge=0, description='gate: least advantage of raw')
    trust_start: float = Field(0.1, gt=0, description='raw within +- this of the decoder ...')
    trust_end: float = Field(0.5, gt=0, description='... growing to this')
    trust_steps: int = Field(4000, ge=1, description='environment steps of the growth')
    trust_backoff: float = Field(1.0, gt=0, le=1, description='factor on the trust ball after an '
                                 'episode that shut the gate; 1 leaves it to grow')
    explore_latent: float = Field(0.3, ge=0, description='std of the latent noise')
    explore_raw: float = Field(0.1, ge=0, description='std of the raw noise')
    explore_raw_end: float = Field(0.04, ge=0, description='std of the raw noise once the trust '
                                   'ball has grown')
    explore_correlation: float = Field(0.8, ge=0, lt=1, description='of the noise from tick to '
                                       'tick; white noise hardly moves an arm')
    policy_delay: int = Field(1, ge=1, description='critic updates a policy update')
    anchor: float = Field(0.1, ge=0, description='weight that keeps the latent policy near the '
                          'pretrained one')
    raw_bc: float = Field(0.1, ge=0, description='weight that keeps raw near the decoder online')

    start: str = Field('', description='marvel: .npz of offline tensors to start from, instead of '
                       'the offline phase')
    cost_limit: float = Field(20.0, ge=0, description='cpq: cost an episode, of which its '
                              'thresholds are made')
    episode_steps: int = Field(200, ge=1, description='cpq: steps an episode, for its thresholds')
    clone_weight: float = Field(1.0, ge=0, description='cpq: weight that holds the policy to the '
                                'safe actions of the data, as in TD3+BC; 0: as published')
    cost_weight: float = Field(1.0, gt=0, description='sac-lagrangian and its kin: factor on '
                               'costs, beside reward_scale')
    entropy: float = Field(0.001, ge=0, description='sac-lagrangian and its kin: weight of the '
                           'entropy; 0: tuned so that the entropy is -d')
    actor_rate: float = Field(1.0, gt=0, description='sac-lagrangian and its kin: learning rate '
                              "of the policy, as a multiple of the critic's")
    align_entropy_reward: float = Field(0.0, ge=0, description='marvel: weight of the entropy in '
                                        "the reward critic's alignment")
    align_entropy_cost: float = Field(0.0, ge=0, description='marvel: the same of the cost '
                                      "critic's; not negative: it makes uncertain actions dear")
    setpoint: float = Field(0.7, gt=0, le=1, description='sac-lagrangian and its kin: share of '
                            'the cost limit at which the multiplier holds the cost')
    multiplier: Literal['adaptive', 'plain', 'integral'] = Field(
        'adaptive', description='marvel: the PID that sets it; plain: fixed gains; integral: only '
        'I, as dual ascent')

    push_every: int = Field(100, ge=1, description='environment steps between bundles')
    checkpoint_every: int = Field(2500, ge=1, description='environment steps')


def _flatten(error: ValidationError) -> str:
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


def _find(name: str, kind: str) -> Path:
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
    path = _find(str(name), 'robot')
    content = read_yaml(path)
    try:
        return Robot(**{**content, 'source': str(path.resolve())})
    except ValidationError as error:
        raise ConfigError(f'{path}: {_flatten(error)}') from None


def load_task(name: str = 'reach') -> TaskSettings:
    """Read a task file by path, or by name from `config/task/`; raises ConfigError."""
    path = _find(str(name), 'task')
    try:
        return TaskSettings(**read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f'{path}: {_flatten(error)}') from None


def load_training(name: str = 'spaars', **overrides: Any) -> Training:
    """Read a training file by path, or by name from `config/training/`; overrides win."""
    path = _find(str(name), 'training')
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Training(**{**read_yaml(path), **given})
    except ValidationError as error:
        raise ConfigError(f'{path}: {_flatten(error)}') from None
