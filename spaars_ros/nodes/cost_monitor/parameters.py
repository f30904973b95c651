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

"""Parameters of the cost monitor node."""

from typing import Any
from typing import Union

from spaars_ros.constraints.lagrangian import PIDGains
from spaars_ros.constraints.multipliers import FORMS
from spaars_ros.constraints.published_pid import ReleasedGains
from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.parameters import RUN

GAINS, RELEASED = PIDGains(), ReleasedGains()
UNITS = {'episode': 'cost per episode', 'step': 'mean cost per step',
         'discounted': 'discounted cost per episode'}


def limit_parameter(name: str, limit: float, which: str, kind: str = 'episode') -> Param:
    """Return the limit parameter of a constraint, in the unit of its kind."""
    return Param(name, limit, f'limit of {which}; default: that of the robot file',
                 unit=UNITS[kind], low=0.0, high=1e9, live=True)


def _gain(name: str, default: float, text: str, high: float, unit: str = '') -> Param:
    return Param(name, default, text, unit=unit, low=0.0, high=high, live=True)


PARAMETERS = ParameterTable(
    RUN,
    Param('robot', 'panda', 'robot file: path, or name of a shipped file'),
    Param('task', 'reach', 'task file: path, or name of a shipped file'),
    Param('run_dir', '', "run folder that keeps the state of the controllers over a restart; '' "
          'keeps none'),
    Param('gamma', 0.97, 'discount of the discounted cost', unit='1/tick', low=0.0, high=1.0),
    limit_parameter('cost_limit', 5.0, 'the first constraint of the robot file '
                    '(`<constraint>.cost_limit` for the others)'),
    Param('stop_cost', 0.0, 'cost of a constraint in an episode above which the robot is stopped; '
          '0: off', unit='cost per episode', low=0.0, high=1e9, live=True),
    _gain('rollback_cost', 0.0, 'cost of a constraint in an episode, in multiples of its limit, '
          'above which the bundle version is rolled back; 0: off', 1e6, 'limits'),
    _gain('rollback_interventions', 0.0, "share of an episode's ticks with filter interventions "
          'above which the bundle version is rolled back; 0: off', 1.0),
    Param('pid_form', 'safe', "safe: acts on the relative excess; released: Marvel's published "
          'code, acts on the costs themselves', choices=FORMS),
    _gain('kp', GAINS.kp, 'multiplier per relative excess of 1 (safe form)', 1e3),
    _gain('ki', GAINS.ki, 'multiplier added per episode at a relative excess of 1 (safe form)',
          1e3, '1/episode'),
    _gain('kd', GAINS.kd, 'multiplier for a cost that grows by one limit per episode (safe form)',
          1e3, 'episodes'),
    _gain('kp_rate', GAINS.kp_rate, 'largest relative change of kp; 0: constant (safe form)', 0.1,
          '1/episode'),
    _gain('ki_rate', GAINS.ki_rate, 'largest relative change of ki; 0: constant (safe form)', 0.1,
          '1/episode'),
    _gain('kd_rate', GAINS.kd_rate, 'largest relative change of kd; 0: constant (safe form)', 0.1,
          '1/episode'),
    _gain('kb', GAINS.kb, 'anti-windup: share of the excess of lambda over lambda_max that the I '
          'term gives back (safe form)', 1.0, '1/episode'),
    _gain('deadband', GAINS.deadband, 'relative excess within which the I term does not change '
          '(safe form)', 1.0),
    Param('setpoint', GAINS.setpoint, 'share of the limit at which the cost is held (safe form)',
          low=0.05, high=1.0, live=True),
    Param('violation_rate', GAINS.violation_rate, 'share of the episodes that may be above the '
          'limit; it is held instead of the mean cost; 0: the mean cost is held at setpoint (safe '
          'form)', low=0.0, high=0.5, live=True),
    _gain('released_gain', RELEASED.gain, 'initial kp, ki and kd (released form)', 1e3),
    Param('released_calls', RELEASED.calls, 'PID calls per episode (released form)', low=1,
          high=1000, live=True),
    _gain('lambda_max', GAINS.lambda_max, 'largest multiplier', 1e6),
)


def gains_of(values: dict[str, Any]) -> Union[PIDGains, ReleasedGains]:
    """Return the gains of the PID form that the parameters select."""
    if values['pid_form'] == 'released':
        return ReleasedGains(values['released_gain'], values['released_calls'],
                             values['lambda_max'])
    return PIDGains(**{name: values[name] for name in (
        'kp', 'ki', 'kd', 'kp_rate', 'ki_rate', 'kd_rate', 'kb', 'deadband', 'lambda_max',
        'setpoint', 'violation_rate')})
