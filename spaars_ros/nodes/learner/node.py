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

"""Learner node: store every step, fine-tune from it, publish policy bundles."""

from contextlib import suppress
from functools import partial
import os
from pathlib import Path
import re
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.clock import Clock
from rclpy.clock import ClockType  # type: ignore[attr-defined]
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger
import torch

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Outcome
from spaars_ros.learning.core.compiler import Compiler
from spaars_ros.learning.online.checkpoint_store import CheckpointStore
from spaars_ros.nodes.learner.member import Member
from spaars_ros.nodes.learner.parameters import PARAMETERS
from spaars_ros.nodes.learner.pause import Pause
from spaars_ros.nodes.learner.status import learner_status
from spaars_ros.nodes.learner.tuner import make_tuner
from spaars_ros.policy.signing import Signer
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.ros.borders import Border
from spaars_ros.ros.codecs import encode_bytes
from spaars_ros.ros.diagnostics import diagnostic_array
from spaars_ros.ros.diagnostics import full_name
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.lifecycle import run_node
from spaars_ros.ros.qos import QOS

NICENESS = 5
NAMESPACE = r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*'
BEAT = 0.25
"""s of wall time between two progress messages and two checks for missing records."""


class LearnerNode(ManagedNode):
    """
    Learner node: store each step of each robot durably, and learn from it once, in order.

    There is one thread: an update runs when no message waits, so nothing needs a lock. With
    several robots, the actor loss uses the mean of their multipliers; each robot has its own
    limits.
    """

    def __init__(self, **overrides: Any) -> None:
        """Declare the parameters."""
        torch.set_num_threads(1)
        super().__init__('learner', PARAMETERS, overrides=overrides)
        self._made: list[tuple[Any, Any]] = []
        self._members: list[Member] = []
        self._border = Border(self.get_logger())

    def configure(self) -> None:
        """Load the files and recover the run folder; raises with the name of an invalid file."""
        values = self.values()
        self._run_dir = Path(values['run_dir'])
        self._signer = Signer(Path(values['signing_key'])) if values['signing_key'] else None
        self._tuner = make_tuner(values, self._signer)
        self._checkpoints = CheckpointStore(self._run_dir / 'checkpoints',
                                            every=self._tuner.training.checkpoint_every)
        self._fault = ''
        self._resumed = False
        self._redone = 0
        for robot in robots_of(values['robots']):
            self._members.append(Member(robot, self._run_dir, self._tuner.schema))
        self._learn_again()
        self._pause = Pause(self._run_dir, values['paused'])
        if self._pause.kept:
            self.set_parameters([Parameter('paused', value=True)])
        self._say_recovery()
        self._arrived = False
        self._flushed = self._beaten = time.monotonic()
        self._make_interfaces()

    def _say_recovery(self) -> None:
        if self._pause.kept:
            self.get_logger().warning('learning is paused, as before the restart: spaars '
                                      'resume, or the parameter paused, lets it go on')
        for line in (*(line for each in self._members for line in each.recorder.damage),
                     *self._checkpoints.skipped):
            self.get_logger().warning(line)
        if self._resumed:
            count = sum(each.recorder.count for each in self._members)
            self.get_logger().info(f'recovered {count} steps from {self._run_dir}, '
                                   f'{self._tuner.updates_owed} updates owed')

    def _learn_again(self) -> None:
        """Restore the newest checkpoint, then catch up on the recorded steps of each robot."""
        newest = self._checkpoints.newest(self._tuner.manifest)
        if newest is not None:
            self._tuner.restore(newest)
            self._resumed = True
        for member in self._members:
            rows = member.recorded()
            if rows is None:
                continue
            self._tuner.catch_up(rows, member.robot)
            self._tuner.lessons.clear()  # they are recorded already
            self._resumed = True
            # Until then it knows less than the acting policy, which learned from these steps.
            self._redone = self._tuner.updates + self._tuner.updates_owed

    def _make_interfaces(self) -> None:
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics',
                                                  QOS['/diagnostics'])
        for member in self._members:
            member.listen(self, self._border, step=partial(self._on_step, member),
                          multiplied=self._on_multiplier, label=partial(self._on_label, member),
                          constraints=len(self._tuner.multipliers))
        save = self.create_service(Trigger, 'learner/save', self._on_save)
        self._made = [(self.destroy_publisher, self._diagnostics), (self.destroy_service, save),
                      (Compiler.close, self._tuner.compiler)]

    def activate(self) -> None:
        """Start learning; publish the policy of a recovered run and request missed records."""
        self._work_waits = self.create_guard_condition(self._work)
        # Steady clock: a simulation that waits for the learner stops /clock.
        self._timer = self.create_timer(BEAT, self._on_beat,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))
        if self._resumed and self._tuner.updates >= self._redone:
            self._push()
        for member in self._members:
            member.ask_for_the_rest()
        self._report()
        self._work_waits.trigger()

    def deactivate(self) -> None:
        """Save a checkpoint and flush the recordings."""
        self.destroy_timer(self._timer)
        self.destroy_guard_condition(self._work_waits)
        self._save()
        for member in self._members:
            if not member.recorder.flush():
                self.get_logger().error(f'not everything is on disk: {member.recorder.error}')
        self._report()

    def cleanup(self) -> None:
        """Close the recordings and destroy what `configure` created."""
        for destroy, made in self._made:
            destroy(made)
        self._made = []
        for member in self._members:
            member.close(self.get_logger())
        self._members = []

    def changed(self, values: dict[str, Any]) -> None:
        """Pause or continue learning."""
        if 'paused' not in values or not self._members:
            return
        try:
            self._pause.set(bool(values['paused']))
        except OSError as error:
            self.get_logger().error(f'{self._pause.file}: {error.strerror}; a restart will not '
                                    'know of it')
        self.get_logger().info('learning is paused' if self._pause.now else 'learning')
        if self.is_active:
            self._report()
            self._work_waits.trigger()

    def _on_step(self, member: Member, row: Array) -> None:
        self._arrived = True
        for ready in member.intake.put(row):
            self._take(member, ready)
        while member.intake.corrected:
            self._correct(member, member.intake.corrected.pop(0))
        member.fetching.fill_gap()
        if self.is_active:
            self._work_waits.trigger()

    def _correct(self, member: Member, row: Array) -> None:
        """Replace a foreign record by that of the policy server."""
        member.recorder.correct_step(row)
        self.get_logger().error(member.intake.problem)
        if self._tuner.correct(row, member.robot):
            return
        # The foreign record was learned from: restore as after a restart, without it.
        for each in self._members:
            each.recorder.flush()
        multipliers, version = self._tuner.multipliers, self._tuner.version
        self._tuner = make_tuner(self.values(), self._signer)
        self._learn_again()
        self._tuner.multipliers = multipliers
        self._tuner.version = max(self._tuner.version, version)

    def _take(self, member: Member, row: Array) -> None:
        """Store a record, then add it to the replay."""
        member.store(row)
        self._tuner.add(row, member.robot)
        while self._tuner.lessons:
            member.store_lesson(*self._tuner.lessons.pop(0)[1:])
        # Often enough for a simulation whose pace follows the received records.
        if member.sequencer.next % 8 == 0 or self._tuner.schema.get(row, 'flag'):
            self._report()

    def _on_multiplier(self) -> None:
        heard = [each.multipliers for each in self._members if each.multipliers is not None]
        self._tuner.multipliers = np.mean(heard, axis=0)

    def _on_label(self, member: Member, episode: int, outcome: Outcome) -> None:
        """Apply a person's label of an episode, which is recorded already."""
        if self._tuner.judge(episode, outcome, member.robot):
            self.get_logger().info(f'{member.prefix}episode {episode} is {outcome.name.lower()} '
                                   'now')

    def _work(self) -> None:
        """Do one update if one is owed and no message waits."""
        if not self.is_active or self._fault or self._pause.now:
            return
        if self._arrived:
            self._arrived = False
            self._work_waits.trigger()
        elif self._tuner.updates_owed:
            try:
                self._tuner.update()
            except (RuntimeError, ValueError) as error:
                self._fault = f'learning stopped: {error}'
                self.get_logger().fatal(self._fault)
                self._report()
                return
            if not self._tuner.updates_owed:
                self._settle()
            self._work_waits.trigger()

    def _settle(self) -> None:
        """Publish a bundle and save a checkpoint if due, once all owed updates are done."""
        if self._tuner.bundle_due and self._tuner.updates >= self._redone:
            self._push()
        if self._checkpoints.due(self._tuner.steps):
            self._save()
        self._report()

    def _push(self) -> None:
        message = encode_bytes(self._tuner.export().to_bytes(self._signer))
        for member in self._members:
            member.publish_policy(message)

    def _save(self) -> bool:
        """Save a checkpoint; report a failure, for instance a full disk, and retry later."""
        if self._fault:
            return False  # a run must not resume from a failed learner
        saved = self._checkpoints.save(self._tuner)
        if not saved:
            self.get_logger().error(f'no checkpoint: {self._checkpoints.error}',
                                    throttle_duration_sec=10.0)
        return saved

    def _on_save(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._save()
        response.message = self._fault or self._checkpoints.error or str(self._checkpoints.last)
        return response

    def _on_beat(self) -> None:
        now = time.monotonic()
        for member in self._members:
            member.fetching.on_beat()
            member.intake.on_beat(now)
            loss = member.loss()
            if loss and not self._fault:
                self._fault = loss
                self.get_logger().fatal(loss)
                self._report()
        if now - self._flushed > 1.0:
            self._flushed = now
            self._diagnose()
        if self._checkpoints.retry_due:
            self._save()
        if self._tuner.bundle_due and not self._fault and not self._pause.now:
            self._settle()
        if now - self._beaten >= BEAT:
            self._report()
        self._work_waits.trigger()

    def _diagnose(self) -> None:
        for member in self._members:
            member.recorder.flush()
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), [
            learner_status(
                member.recorder, member.sequencer, self._tuner.progress(),
                full_name(self.get_namespace(), member.title),
                error=(self._fault or member.refused() or self._checkpoints.error
                       or self._border.news() or member.news()),
                more={**self._border.values(), 'conflicts': member.intake.conflicts,
                      'compiled': self._tuner.compiler.status,
                      'taught': self._tuner.taught,
                      'out_of_reach': self._tuner.out_of_reach},
                alone=member.alone(self), paused=self._pause.now)
            for member in self._members]))

    def _report(self) -> None:
        self._beaten = time.monotonic()
        progress = self._tuner.progress()
        # No update is done then: a simulated arm that waits for owed ones would stand still.
        rests = bool(self._fault) or self._pause.now
        owed = 0 if rests else self._tuner.updates_owed
        for member in self._members:
            member.publish_progress(progress, owed=owed, fault=bool(self._fault),
                                    paused=self._pause.now)


def robots_of(names: str) -> list[str]:
    """Return the namespaces in a comma-separated text; raises ConfigError if one is invalid."""
    found = [name.strip().strip('/') for name in names.split(',')]
    for name in found:
        if len(found) > 1 and not name or name and not re.fullmatch(NAMESPACE, name):
            raise ConfigError(f'robots: {name!r} is no namespace (letters, digits, _ and /)')
        if found.count(name) > 1:
            raise ConfigError(f'robots: {name!r} is there twice')
    return found


def main(args: list[str] | None = None) -> int:
    """Run the node; return its exit code."""
    with suppress(OSError):
        os.nice(NICENESS)  # the control loop on this computer has priority
    return run_node(LearnerNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
