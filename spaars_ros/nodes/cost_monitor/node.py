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

"""Cost monitor node: measure the costs of the robot's steps and adapt the multipliers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from std_msgs.msg import Float64MultiArray

from spaars_ros.constraints.costs import EpisodeCosts
from spaars_ros.constraints.costs import limit_units
from spaars_ros.constraints.costs import StepCost
from spaars_ros.constraints.multipliers import Multipliers
from spaars_ros.constraints.rollback import VersionJudge
from spaars_ros.constraints.run_watch import RunWatch
from spaars_ros.nodes.cost_monitor.parameters import gains_of
from spaars_ros.nodes.cost_monitor.parameters import limit_parameter
from spaars_ros.nodes.cost_monitor.parameters import PARAMETERS
from spaars_ros.nodes.cost_monitor.patient_trigger import PatientTrigger
from spaars_ros.nodes.cost_monitor.persistent_state import PersistentState
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Constraint
from spaars_ros.robot.config import load_robot
from spaars_ros.ros import diagnostics
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import StepReader
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.fields import LAYOUTS
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.lifecycle import run_node
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.qos import QOS
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task

STEP_FIELDS = ('sequence', 'episode', 'index', 'flag', 'intervention', 'bundle_version', 'mode')
"""Integer fields of a step record that are read here."""


class CostMonitor(ManagedNode):
    """Subscribe to policy_server/step; publish cost_monitor/cost and cost_monitor/multiplier."""

    def __init__(self, **overrides: Any) -> None:
        limit = PARAMETERS.params['cost_limit']
        fixed = [param for param in PARAMETERS.params.values() if param is not limit]
        self._made: list[Any] = []
        self._multipliers: Multipliers | None = None
        super().__init__('cost_monitor', ParameterTable(*fixed), overrides=overrides)
        # Names and defaults of the limits come from the robot file.
        try:
            constraints = load_robot(self.values()['robot']).constraints
        except ConfigError:
            constraints = []  # configure reports the error of the file
        self._limits = ['cost_limit', *(f'{c.name}.cost_limit' for c in constraints[1:])
                        ][:len(constraints)]
        for name, constraint in zip(self._limits, constraints):
            self.table.params[name] = limit_parameter(name, constraint.limit,
                                                      constraint.name, constraint.kind)
            self.table.declare(self)  # one by one: declare reads the table

    def configure(self) -> None:
        """Load robot and task, and restore the state in the run folder; raises ValueError."""
        p = self._values = self.values()
        robot = load_robot(p['robot'])
        task = make_task(robot, load_task(p['task']))
        self._names = task.constraint_names
        count = len(self._names)
        self._costs = EpisodeCosts(task, robot.constraints, gamma=p['gamma'])
        self._judge = VersionJudge(robot.constraints, task.horizon, gamma=p['gamma'])
        self._watch = RunWatch()
        self._steps = StepReader(task.observation_dim, len(robot.joints), task.spec.action_dim)
        self._multipliers = self._make_multipliers(robot.constraints, task.horizon)
        self._judge_by(p)
        self._problem = self._rollback = ''
        self._remember(Path(p['run_dir']) if p['run_dir'] else None)
        self._cost_codec, self._multiplier_codec = (
            ArrayCodec(LAYOUTS[topic].sized(count))
            for topic in ('cost_monitor/cost', 'cost_monitor/multiplier'))
        self._last: StepCost | None = None
        self._finished = -1.0
        self._measured = np.zeros(count)
        self._skipped = self._runs = 0
        self._border = Border(self.get_logger())
        self._version = -1
        self._create()

    def _remember(self, folder: Path | None) -> None:
        """Restore the state that an earlier monitor wrote to this run folder."""
        assert self._multipliers is not None
        try:
            self._memory = PersistentState(folder, self._multipliers, self._values)
            if self._memory.counted:
                # Earlier records may be replayed for a learner that missed them.
                sequence = int(self._memory.counted['sequence'])
                self._watch.begin_after(sequence, self._memory.counted['stamp'])
                self._costs.resume(sequence)
        except Exception:
            self._multipliers = None  # or setting a parameter would overwrite the file
            raise
        for line in self._memory.missed():
            self.get_logger().warning(f'{line}: what was set while running is not kept')

    def _create(self) -> None:
        self._cost = self.create_publisher(Float64MultiArray, 'cost_monitor/cost',
                                           QOS['cost_monitor/cost'])
        self._multiplier = self.create_publisher(
            Float64MultiArray, 'cost_monitor/multiplier', QOS['cost_monitor/multiplier'])
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics',
                                                  QOS['/diagnostics'])
        self._stop = PatientTrigger(self, 'policy_server/estop', insist=True,
                                    answered=self._on_stopped)
        self._back = PatientTrigger(self, 'policy_server/rollback', insist=False,
                                    answered=self._on_rolled_back)
        self._made = [self._cost, self._multiplier, self._diagnostics, self._stop.client,
                      self._back.client, self.create_subscription(
                          Float64MultiArray, 'policy_server/step',
                          self._border.guarded('policy_server/step', self._on_step),
                          QOS['policy_server/step'])]

    def activate(self) -> None:
        """Publish the current multipliers."""
        self._timer = self.create_timer(1.0, self._diagnose)
        self._publish_multipliers()

    def deactivate(self) -> None:
        """Stop the diagnostics."""
        self.destroy_timer(self._timer)

    def cleanup(self) -> None:
        """Destroy what `configure` created."""
        for made in self._made:
            for destroy in (self.destroy_publisher, self.destroy_subscription,
                            self.destroy_client):
                if destroy(made):
                    break
        self._made = []
        self._multipliers = None

    def changed(self, values: dict[str, Any]) -> None:
        """Apply limits, gains and bounds, save and publish them."""
        self._values = self.values()
        if self._multipliers is None:
            return
        self._multipliers.set_limits([self._values[name] for name in self._limits])
        self._multipliers.set_gains(gains_of(self._values))
        self._judge_by(self._values)
        self._memory.changed(values, self._values, self._limits)
        self._save()
        if self.is_active:
            self._publish_multipliers()

    def _judge_by(self, p: dict[str, Any]) -> None:
        self._judge.cost_multiple = p['rollback_cost']
        self._judge.intervention_share = p['rollback_interventions']

    def _make_multipliers(self, constraints: list[Constraint], horizon: int) -> Multipliers:
        return Multipliers(self._names, [self._values[name] for name in self._limits],
                           limit_units(constraints, horizon), gains_of(self._values))

    def _on_step(self, msg: Float64MultiArray) -> None:
        if not self.is_active or self._multipliers is None:
            return
        schema, values = self._steps.read(msg)
        row = schema.view(values)
        row.update({name: int(row[name]) for name in STEP_FIELDS}, stamp=float(row['stamp']),
                   effort=values[schema.fields['effort']],
                   action=values[schema.fields['action']],
                   observation=values[schema.fields['observation']])
        for one in self._watch.take(row):
            self._take(one)

    def _take(self, row: Mapping[str, Any]) -> None:
        """Add the cost of a record; publish it, and stop, roll back or update multipliers."""
        assert self._multipliers is not None
        try:
            cost = self._account(row)
        except ValueError as error:
            raise CodecError('COST', str(error)) from None
        if cost is None:
            # Repeated by a server that waits for its cost: the first answer may be lost.
            if self._last is not None and row['sequence'] == self._last.sequence:
                self._publish_cost(self._last)
            return
        if self._last is None and cost.index > 0:
            self._say(f'joined episode {cost.episode} at step {cost.index}: what it cost before '
                      'is not known, and neither stop_cost nor max_episode_cost counts it')
        if cost.gap:
            self.get_logger().warning(f'steps missing before {cost.sequence}: episode '
                                      f'{cost.episode} will not change the multipliers',
                                      throttle_duration_sec=1.0)
        self._last = cost
        self._publish_cost(cost)
        self._stop_above(cost)
        self._roll_back(cost, row)
        if not cost.ended:
            return
        self._memory.count(cost.sequence, row['stamp'])
        if cost.valid:
            self._multipliers.update(cost.measured)
        # The worst episodes are cut short: without them the limit would hold for the others only.
        if cost.valid or self._multipliers.update_above(cost.at_least):
            self._finished, self._measured = cost.episode, cost.measured
            self._publish_multipliers()
            self._save()
        else:
            self._skipped += 1

    def _publish_cost(self, cost: StepCost) -> None:
        self._cost.publish(self._cost_codec.encode_fields(
            sequence=cost.sequence, episode=cost.episode, ended=cost.ended, valid=cost.valid,
            cost=cost.step, episode_cost=cost.total, discounted_cost=cost.discounted))

    def _account(self, row: Mapping[str, Any]) -> StepCost | None:
        if self._watch.another:
            self._watch.another = False
            self._runs += 1
            self._costs.restart()
            # Its episodes have the same numbers as the earlier ones, and are stopped again.
            self._stop.forget()
            self._back.forget()
            self._say(f'another run began, at step {row["sequence"]}: costs are counted anew, '
                      'the multipliers stay as they are')
        return self._costs.add(
            **{name: row[name] for name in ('sequence', 'episode', 'index', 'flag', 'observation',
                                            'effort', 'action', 'intervention', 'mode',
                                            'stamp')})

    def _stop_above(self, cost: StepCost) -> None:
        """Stop the robot, once per episode, if the cost of a constraint is above stop_cost."""
        hard = self._values['stop_cost']
        if hard <= 0 or cost.ended or cost.episode in self._stop.done \
                or not (cost.total > hard).any():
            return
        name = self._names[int(np.argmax(cost.total))]
        self._say(f'episode {cost.episode} stopped: {name} {cost.total.max():g} is above '
                  f'stop_cost {hard:g}', each_step=True)
        self._stop.ask(cost.episode)

    def _on_stopped(self, episode: int, success: bool, reason: str) -> None:
        if not success:
            self._say(f'episode {episode} was not stopped: {reason}')

    def _roll_back(self, cost: StepCost, row: Mapping[str, Any]) -> None:
        """Request a rollback, once per version, if a bundle version exceeds a bound."""
        assert self._multipliers is not None
        if row['bundle_version'] != self._version:
            self._version = row['bundle_version']
            self._back.forget(self._version)  # it acts now, so it was accepted again
        breach = self._judge.add(cost, self._multipliers.limits, version=row['bundle_version'],
                                 intervention=row['intervention'])
        if breach is None or breach.version in self._back.done:
            return
        self._rollback = str(breach)
        self._say(f'rollback asked for, {breach}', each_step=True)
        self._back.ask(breach.version)

    def _on_rolled_back(self, version: int, success: bool, reason: str) -> None:
        if not success and reason.endswith('not active'):
            self._back.forget(version)  # it may act again and is then judged again
        self._rollback += ', rolled back' if success else f', not rolled back: {reason}'
        self._say(self._rollback)

    def _say(self, problem: str, *, each_step: bool = False) -> None:
        """Log a problem and show it in the next diagnostics."""
        self._problem = problem
        if each_step:
            self.get_logger().error(problem, throttle_duration_sec=5.0)
        else:
            self.get_logger().error(problem)

    def _publish_multipliers(self) -> None:
        assert self._multipliers is not None
        self._multiplier.publish(self._multiplier_codec.encode_fields(
            episode=self._finished, cost=self._measured, **self._multipliers.columns()))

    def _save(self) -> None:
        try:
            self._memory.save()
        except OSError as error:
            self._say(f'{self._memory.file}: {error.strerror}', each_step=True)

    def _diagnose(self) -> None:
        assert self._multipliers is not None
        values: dict[str, object] = {
            'skipped_episodes': self._skipped, **self._border.values(),
            'other_runs': self._runs, 'rollback': self._rollback}
        level, message = diagnostics.OK, 'within limits'
        columns = self._multipliers.columns()
        for name, cost, limit, multiplier in zip(self._names, self._measured, columns['limit'],
                                                 columns['multiplier']):
            values.update({f'{name}.cost': float(cost), f'{name}.limit': limit,
                           f'{name}.multiplier': multiplier})
            if cost > limit:
                level, message = diagnostics.WARN, f'{name} {cost:g} above {limit:g}'
        if self._last is not None:
            values.update(sequence=self._last.sequence, episode=self._last.episode)
        missed = self._memory.missed()
        if missed:
            level, message = diagnostics.WARN, '; '.join(missed)
        news = self._border.news()
        if news:
            level, message = diagnostics.WARN, f'ignored: {news}'
        if self._problem:
            level, message, self._problem = diagnostics.WARN, self._problem, ''
        self._diagnostics.publish(diagnostics.diagnostic_array(
            self.get_clock().now().to_msg(),
            [diagnostics.status(
                diagnostics.full_name(self.get_namespace(), 'cost_monitor: constraints'),
                level, message, **values)]))


def main(args: list[str] | None = None) -> int:
    """Run the node; return its exit code."""
    return run_node(CostMonitor, args)


if __name__ == '__main__':
    raise SystemExit(main())
