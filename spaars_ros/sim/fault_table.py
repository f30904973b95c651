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

"""Table of the faults that the simulation can inject: name, unit and range."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spaars_ros.robot.config import ConfigError


@dataclass(frozen=True)
class Fault:
    """One fault; 0 is off."""

    name: str
    description: str
    low: float
    high: float
    unit: str = ''


FAULTS: tuple[Fault, ...] = (
    Fault('drop', 'share of joint_states that are never published', 0.0, 1.0),
    Fault('delay', 'delay with which joint_states are published, rounded up to control periods',
          0.0, 10.0, 's'),
    Fault('duplicate', 'share of joint_states that are published twice', 0.0, 1.0),
    Fault('reorder', 'share of joint_states that are published after the next one', 0.0, 1.0),
    Fault('nan', 'share of joint_states with a NaN as the position of one joint', 0.0, 1.0),
    Fault('spike', 'error of the position of one joint, in spike_share of the joint_states', -10.0,
          10.0, 'rad'),
    Fault('spike_share', 'share of joint_states with a spike', 0.0, 1.0),
    Fault('frozen', 'number of joints, from the first, that keep reporting what they reported '
          'when the fault began, with new stamps', 0.0, 64.0, 'joints'),
    Fault('clock_jump', 'offset added to the stamps and to /clock', -1e6, 1e6, 's'),
    Fault('command_delay', 'delay with which commands are executed, rounded up to control periods',
          0.0, 10.0, 's'),
    Fault('command_lag', 'time constant of a first-order lag of the commands', 0.0, 10.0, 's'),
    Fault('payload', 'mass at the tool tip that the controller does not account for', 0.0, 20.0,
          'kg'),
    Fault('friction', 'dry friction of every joint that the controller does not account for', 0.0,
          100.0, 'N m'),
    Fault('damping', 'viscous friction of every joint that the controller does not account for',
          0.0, 1000.0, 'N m s/rad'),
    Fault('swap', 'joint, counted from 1, that executes the command of `swap_with`, and vice '
          'versa', 0.0, 64.0, 'joint'),
    Fault('swap_with', 'the other joint of the pair of `swap`', 0.0, 64.0, 'joint'),
    Fault('flip', 'joint that moves against its command', 0.0, 64.0, 'joint'),
    Fault('scale', 'factor on the velocity that is executed', 0.0, 100.0),
    Fault('scale_joint', 'joint that `scale` applies to; 0: all joints', 0.0, 64.0, 'joint'),
    Fault('command_drop', 'share of commands that do not reach the controller', 0.0, 1.0),
    Fault('unsubscribed', '1: no subscriber on command', 0.0, 1.0),
    Fault('push', 'velocity added to that of `push_joint`, like the push of a hand', -10.0, 10.0,
          'rad/s'),
    Fault('push_joint', 'joint that `push` applies to', 1.0, 64.0, 'joint'),
    Fault('drift', 'speed at which the reported position of `drift_joint` departs from the true '
          'one', -10.0, 10.0, 'rad/s'),
    Fault('drift_joint', 'joint that `drift` applies to', 1.0, 64.0, 'joint'),
    Fault('velocity_zero', '1: joint_states with a velocity of 0', 0.0, 1.0),
    Fault('velocity_empty', '1: joint_states without velocities', 0.0, 1.0),
    Fault('velocity_nan', '1: joint_states with NaN as velocities, like mock hardware', 0.0, 1.0),
    Fault('effort_empty', '1: joint_states without efforts', 0.0, 1.0),
    Fault('effort_nan', '1: joint_states with NaN as efforts', 0.0, 1.0),
    Fault('split', 'number of joints, from the first, that are published in a separate message',
          0.0, 64.0, 'joints'),
    Fault('gripper', '1: the joints of a gripper are published on joint_states in separate '
          'messages', 0.0, 1.0),
    Fault('source_drop', 'share of the samples of every source that are never published', 0.0,
          1.0),
    Fault('source_delay', 'delay with which samples of every source are published, rounded up to '
          'control periods', 0.0, 10.0, 's'),
    Fault('source_nan', 'share of the samples of every source that are NaN', 0.0, 1.0),
    Fault('source_frozen', '1: every source keeps reporting what it reported when the fault '
          'began, with new stamps', 0.0, 1.0),
    Fault('camera_drop', 'share of the images of every camera that are never published', 0.0, 1.0),
    Fault('camera_delay', 'delay with which images of every camera are published, rounded up to '
          'control periods', 0.0, 10.0, 's'),
    Fault('camera_frozen', '1: every camera keeps showing what it showed when the fault began, '
          'with new stamps', 0.0, 1.0),
    Fault('camera_black', '1: every image is black', 0.0, 1.0),
    Fault('camera_size', '1: images have half their width and height', 0.0, 1.0),
    Fault('camera_encoding', '1: images have an unknown encoding', 0.0, 1.0),
)
"""All faults, in the order of the parameters `fault.<name>` of `sim`."""
BY_NAME = {fault.name: fault for fault in FAULTS}
DEFAULTS = {**dict.fromkeys(BY_NAME, 0.0), 'spike_share': 0.1, 'scale': 1.0, 'push_joint': 1.0,
            'drift_joint': 1.0}


def check_faults(values: Mapping[str, Any], where: str) -> dict[str, float]:
    """Return values by fault name as floats; raise ConfigError that names what is wrong."""
    good = {}
    for name, value in values.items():
        fault = BY_NAME.get(name)
        if fault is None:
            raise ConfigError(f'{where}: unknown fault {name!r}, known are {list(BY_NAME)}')
        # NaN compares false, so the check asks for being in range rather than out of it.
        if type(value) not in (int, float) or not fault.low <= value <= fault.high:
            raise ConfigError(f'{where}: {name}: {value!r} is not within {fault.low:g} and '
                              f'{fault.high:g} {fault.unit}'.rstrip())
        good[name] = float(value)
    return good
