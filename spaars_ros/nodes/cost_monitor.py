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

"""The cost monitor: what the robot's motion cost, and the multipliers that follow from it."""

from functools import partial
import json
import os
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.client import Client
from rclpy.task import Future
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from spaars_ros.config import ConfigError
from spaars_ros.config import load_robot
from spaars_ros.config import load_task
from spaars_ros.ros import diagnostics
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.lifecycle import run_node
from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.qos import QOS
from spaars_ros.safety.costs import EpisodeCosts
from spaars_ros.safety.costs import StepCost
from spaars_ros.safety.lagrangian import AdaptivePID
from spaars_ros.safety.lagrangian import PIDGains
from spaars_ros.sim.tasks import ReachTask

GAINS = PIDGains()
ASK_AGAIN = 0.5  # s of wall time before an emergency stop without success is asked for again


def _limit(name: str, limit: float, which: str) -> Param:
    return Param(name, limit, f"limit of {which}; its default is the robot file's",
                 unit='cost an episode', low=0.0, high=1e9, live=True)


PARAMETERS = ParameterTable(
    Param('robot', 'panda', 'robot file: a path, or the name of one that ships'),
    Param('task', 'reach', 'task file: a path, or the name of one that ships'),
    Param('run_dir', '', "run folder that keeps the controllers' state over a restart; '' keeps "
          'none'),
    _limit('cost_limit', 5.0, "the robot file's first constraint (`<constraint>.cost_limit` for "
           'the others)'),
    Param('stop_cost', 0.0, 'a constraint above this in an episode stops the robot; 0 is off',
          unit='cost an episode', low=0.0, high=1e9, live=True),
    Param('kp', GAINS.kp, 'multiplier for a relative excess of 1', low=0.0, high=1e3, live=True),
    Param('ki', GAINS.ki, 'multiplier that a relative excess of 1 adds an episode', low=0.0,
          high=1e3, live=True),
    Param('kd', GAINS.kd, 'multiplier for a cost that grows by a limit an episode', low=0.0,
          high=1e3, live=True),
    Param('adaptation_rate', GAINS.rate, 'greatest relative change of kp and ki an episode; 0 '
          'keeps the gains', low=0.0, high=0.1, live=True),
    Param('setpoint', GAINS.setpoint, 'share of the limit at which the cost is held', low=0.05,
          high=1.0, live=True),
    Param('lambda_max', GAINS.lambda_max, 'greatest multiplier', low=0.0, high=1e6, live=True),
)


class CostMonitor(ManagedNode):
    """Subscribes policy_server/step; publishes cost_monitor/cost and cost_monitor/multiplier."""

    def __init__(self, **overrides: Any) -> None:
        limit = PARAMETERS.params['cost_limit']
        fixed = [param for param in PARAMETERS.params.values() if param is not limit]
        self._made: list[Any] = []
        self._pids: list[AdaptivePID] = []
        super().__init__('cost_monitor', ParameterTable(*fixed), overrides=overrides)
        # The limits' names and defaults are the robot file's.
        try:
            constraints = load_robot(self.values()['robot']).constraints
        except ConfigError:
            constraints = []  # configure will say what is wrong with the file
        self._limits = ['cost_limit', *(f'{c.name}.cost_limit' for c in constraints[1:])]
        for name, constraint in zip(self._limits, constraints):
            self.table.params[name] = _limit(name, constraint.limit, constraint.name)
        self.table.declare(self)

    def configure(self) -> None:
        """Load robot and task; raises what is wrong with them."""
        p = self._values = self.values()
        robot = load_robot(p['robot'])
        task = ReachTask(robot, load_task(p['task']))
        self._names = task.constraint_names
        self._costs = EpisodeCosts(task)
        self._observation, self._effort = task.observation_dim, len(robot.joints)
        self._pids = [AdaptivePID(p[name], self._gains(p))
                      for name, _ in zip(self._limits, self._names)]
        self._file = Path(p['run_dir']) / 'cost_monitor.json' if p['run_dir'] else None
        self._restore()
        count = len(self._names)
        self._cost_codec = ArrayCodec({
            'sequence': 1, 'episode': 1, 'ended': 1, 'valid': 1, 'cost': count,
            'episode_cost': count})
        self._multiplier_codec = ArrayCodec({
            'episode': 1, **dict.fromkeys(('multiplier', 'limit', 'cost', 'p', 'i', 'd', 'kp',
                                           'ki', 'kd'), count)})
        self._step_codec: ArrayCodec | None = None
        self._last: StepCost | None = None
        self._finished = -1.0
        self._finished_cost = np.zeros(count)
        self._stopped_episode = -1
        self._asked = (-1, 0.0)
        self._newest_stamp = -np.inf
        self._skipped = self._malformed = 0
        self._problem = ''
        self._cost = self.create_publisher(Float64MultiArray, 'cost_monitor/cost',
                                           QOS['cost_monitor/cost'])
        self._multiplier = self.create_publisher(
            Float64MultiArray, 'cost_monitor/multiplier', QOS['cost_monitor/multiplier'])
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics',
                                                  QOS['/diagnostics'])
        self._estop: 'Client[Any, Any]' = self.create_client(Trigger, 'policy_server/estop')
        self._made = [self._cost, self._multiplier, self._diagnostics, self._estop,
                      self.create_subscription(Float64MultiArray, 'policy_server/step',
                                               self._on_step, QOS['policy_server/step'])]

    def activate(self) -> None:
        """Publish the multipliers as they stand."""
        self._timer = self.create_timer(1.0, self._diagnose)
        self._publish_multipliers()

    def deactivate(self) -> None:
        """Stop reporting."""
        self.destroy_timer(self._timer)

    def cleanup(self) -> None:
        """Remove what `configure` made."""
        for made in self._made:
            for destroy in (self.destroy_publisher, self.destroy_subscription,
                            self.destroy_client):
                if destroy(made):
                    break
        self._made = []
        self._pids = []

    def changed(self, values: dict[str, Any]) -> None:
        """Take limits and gains while running."""
        self._values = self.values()
        for name, pid in zip(self._limits, self._pids):
            if name in values:
                pid.set_limit(values[name])
            pid.set_gains(self._gains(self._values))
        if self._pids and self.is_active:
            self._publish_multipliers()

    def _gains(self, p: dict[str, Any]) -> PIDGains:
        return PIDGains(kp=p['kp'], ki=p['ki'], kd=p['kd'], rate=p['adaptation_rate'],
                        lambda_max=p['lambda_max'], setpoint=p['setpoint'])

    def _on_step(self, msg: Float64MultiArray) -> None:
        if not self.is_active:
            return
        try:
            cost = self._account(msg)
        except (CodecError, ValueError, KeyError) as error:
            self._malformed += 1
            self._problem = f'step ignored: {error}'
            self.get_logger().error(self._problem, throttle_duration_sec=5.0)
            return
        if cost is None:
            return
        if cost.gap:
            self.get_logger().warning(f'steps missing before {cost.sequence}: episode '
                                      f'{cost.episode} will not change the multipliers')
        self._last = cost
        self._cost.publish(self._cost_codec.encode_fields(
            sequence=cost.sequence, episode=cost.episode, ended=cost.ended, valid=cost.valid,
            cost=cost.step, episode_cost=cost.total))
        self._stop_above(cost)
        if not cost.ended:
            return
        if not cost.valid:
            self._skipped += 1
            return
        for pid, total in zip(self._pids, cost.total):
            pid.update(float(total))
        self._finished, self._finished_cost = cost.episode, cost.total
        self._publish_multipliers()
        self._save()

    def _account(self, msg: Float64MultiArray) -> StepCost | None:
        """Count a step message; its labels say where the fields are, so no bundle is needed."""
        if self._step_codec is None:
            codec = ArrayCodec.of_message(msg)
            for name, width in (('observation', self._observation), ('effort', self._effort)):
                if codec.widths.get(name) != width:
                    raise CodecError('WRONG_SIZE', f'{name} has {codec.widths.get(name)} values, '
                                                   f'the task and robot file {width}')
            self._step_codec = codec
        row = self._step_codec.decode(msg)
        sequence, stamp = int(row['sequence'][0]), float(row['stamp'][0])
        known, self._newest_stamp = self._newest_stamp, max(self._newest_stamp, stamp)
        cost = self._costs.add(
            sequence=sequence, episode=int(row['episode'][0]),
            index=int(row['index'][0]), flag=int(row['flag'][0]),
            observation=row['observation'], effort=row['effort'])
        if cost is None and stamp > known:
            self._problem = (f'step {sequence} is new, but has a number that was counted before: '
                             'the policy server writes another run; configure this node again')
            self.get_logger().error(self._problem, throttle_duration_sec=5.0)
        return cost

    def _stop_above(self, cost: StepCost) -> None:
        """Stop the robot, once an episode, when a constraint breaks its hard limit."""
        hard = self._values['stop_cost']
        if hard <= 0 or cost.ended or cost.episode == self._stopped_episode \
                or not (cost.total > hard).any():
            return
        name = self._names[int(np.argmax(cost.total))]
        self._problem = (f'episode {cost.episode} stopped: {name} {cost.total.max():g} is above '
                         f'stop_cost {hard:g}')
        self.get_logger().error(self._problem, throttle_duration_sec=ASK_AGAIN)
        episode, at = self._asked
        now = time.monotonic()
        if self._estop.service_is_ready() and (episode != cost.episode or now - at > ASK_AGAIN):
            self._asked = (cost.episode, now)
            self._estop.call_async(Trigger.Request()).add_done_callback(
                partial(self._on_stopped, cost.episode))

    def _on_stopped(self, episode: int, future: 'Future[Any]') -> None:
        """Ask no more in this episode, if the server did stop."""
        answer = future.result()
        if answer is not None and answer.success:
            self._stopped_episode = episode
        else:
            reason = 'no answer' if answer is None else answer.message
            self._problem = f'episode {episode} was not stopped: {reason}'
            self.get_logger().error(self._problem)

    def _publish_multipliers(self) -> None:
        of = {name: [getattr(pid, attribute) for pid in self._pids] for name, attribute in (
            ('multiplier', 'value'), ('limit', 'limit'), ('p', 'p_term'), ('i', 'i_term'),
            ('d', 'd_term'), ('kp', 'kp'), ('ki', 'ki'), ('kd', 'kd'))}
        self._multiplier.publish(self._multiplier_codec.encode_fields(
            episode=self._finished, cost=self._finished_cost, **of))

    def _restore(self) -> None:
        """Continue the controllers of an earlier start; raises ValueError on a damaged file."""
        if self._file is None or not self._file.exists():
            return
        try:
            content = json.loads(self._file.read_text())
            if set(content) != set(self._names):
                raise ValueError(f'constraints {sorted(content)}, the robot file has '
                                 f'{self._names}')
            for name, pid in zip(self._names, self._pids):
                pid.load_state_dict(content[name])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{self._file}: {error}; without the file the multipliers start '
                             'from 0') from None
        for parameter, pid in zip(self._limits, self._pids):
            # What the operator sets now wins over what was set then.
            pid.set_gains(self._gains(self._values))
            pid.set_limit(self._values[parameter])

    def _save(self) -> None:
        if self._file is None:
            return
        fresh = self._file.with_suffix('.tmp')
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(fresh, 'w') as file:
                json.dump({name: pid.state_dict()
                           for name, pid in zip(self._names, self._pids)}, file)
                file.flush()
                os.fsync(file.fileno())  # or a power loss may leave an empty file of that name
            fresh.replace(self._file)
        except OSError as error:
            self._problem = f'{self._file}: {error.strerror}'
            self.get_logger().error(self._problem, throttle_duration_sec=60.0)

    def _diagnose(self) -> None:
        values: dict[str, object] = {'skipped_episodes': self._skipped,
                                     'malformed_steps': self._malformed}
        level, message = diagnostics.OK, 'within limits'
        for index, (name, pid) in enumerate(zip(self._names, self._pids)):
            total = float(self._finished_cost[index])
            values.update({f'{name}.cost': total, f'{name}.limit': pid.limit,
                           f'{name}.multiplier': pid.value})
            if total > pid.limit:
                level, message = diagnostics.WARN, f'{name} {total:g} above {pid.limit:g}'
        if self._last is not None:
            values.update(sequence=self._last.sequence, episode=self._last.episode)
        if self._problem:
            level, message, self._problem = diagnostics.WARN, self._problem, ''
        self._diagnostics.publish(diagnostics.diagnostic_array(
            self.get_clock().now().to_msg(),
            [diagnostics.status('cost_monitor: constraints', level, message, **values)]))


def main(args: list[str] | None = None) -> int:
    """Run the node; returns its exit code."""
    return run_node(CostMonitor, args)


if __name__ == '__main__':
    raise SystemExit(main())
