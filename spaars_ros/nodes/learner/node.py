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

"""Stores every step, fine-tunes from it, publishes policy bundles."""

from contextlib import suppress
import os
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock import ClockType  # type: ignore[attr-defined]
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import UInt8MultiArray
from std_srvs.srv import Trigger
import torch

from spaars_ros.data.labels import TOPIC as LABEL
from spaars_ros.data.ranges import unfit
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Outcome
from spaars_ros.data.sequencer import Sequencer
from spaars_ros.learning.core.compiler import Compiler
from spaars_ros.learning.online.checkpoint_store import CheckpointStore
from spaars_ros.nodes.learner.parameters import PARAMETERS
from spaars_ros.nodes.learner.parameters import PROGRESS
from spaars_ros.nodes.learner.status import learner_status
from spaars_ros.nodes.learner.step_fetch import EVERYTHING
from spaars_ros.nodes.learner.step_fetch import StepFetch
from spaars_ros.nodes.learner.step_intake import StepIntake
from spaars_ros.nodes.learner.tuner import make_tuner
from spaars_ros.policy.signing import Signer
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import TopicReader
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import encode_bytes
from spaars_ros.ros.diagnostics import diagnostic_array
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.lifecycle import run_node
from spaars_ros.ros.qos import QOS

NICENESS = 5
BEAT = 0.25
"""s of wall time between progress reports, and between looks at what is missing."""


class LearnerNode(ManagedNode):
    """
    The learner: every step durably stored and learned from once, in order.

    One thread: an update runs when no message waits, so nothing needs a lock.
    """

    def __init__(self, **overrides: Any) -> None:
        """Declare parameters only."""
        torch.set_num_threads(1)
        super().__init__('learner', PARAMETERS, overrides=overrides)
        self._made: list[tuple[Any, Any]] = []
        self._recorder: TransitionRecorder | None = None
        self._border = Border(self.get_logger())
        self._multipliers = TopicReader('cost_monitor/multiplier', needs=('multiplier',))
        self._labels, self._labelled = TopicReader(LABEL), {}  # type: ignore[var-annotated]

    def configure(self) -> None:
        """Load all, recover what the run folder holds; raises naming what is wrong."""
        values = self.values()
        self._run_dir = Path(values['run_dir'])
        self._signer = Signer(Path(values['signing_key'])) if values['signing_key'] else None
        self._tuner = make_tuner(values, self._signer)
        training = self._tuner.training
        self._checkpoints = CheckpointStore(self._run_dir / 'checkpoints',
                                            every=training.checkpoint_every)
        self._codec = ArrayCodec(self._tuner.schema)
        self._progress_codec = ArrayCodec(dict.fromkeys(PROGRESS, 1))
        self._last_stamp = 0.0
        self._fault = ''
        self._resumed = False
        self._redone = 0
        self._recover()
        self._arrived = False
        self._flushed = self._beaten = time.monotonic()
        self._make_interfaces()
        self._fetching = StepFetch(self._sequencer, lambda first, last: self._fetch.publish(
            Float64MultiArray(data=[first, last])))
        self._intake = StepIntake(self._tuner.schema, self._sequencer, self._fetching)

    def _recover(self) -> None:
        """Continue a run folder: newest checkpoint, then every recorded step again."""
        path = self._run_dir / 'transitions.mcap'
        self._recorder = TransitionRecorder(path, self._tuner.schema)
        self._sequencer = Sequencer(self._recorder.next_sequence)
        self._learn_again()
        for line in (*self._recorder.damage, *self._checkpoints.skipped):
            self.get_logger().warning(line)
        if self._resumed:
            self.get_logger().info(f'recovered {self._recorder.count} steps from {path}, '
                                   f'{self._tuner.updates_owed} updates owed')

    def _learn_again(self) -> None:
        """Take the newest checkpoint, then every recorded step."""
        assert self._recorder is not None
        newest = self._checkpoints.newest(self._tuner.manifest)
        if newest is not None:
            self._tuner.restore(newest)
            self._resumed = True
        if not self._recorder.count:
            return
        _, rows = read_steps(self._recorder.path)
        # What lies behind a gap is taken again when the server has sent what is missing.
        rows = rows[:self._recorder.next_sequence]
        if not len(rows):
            return
        wrong = unfit(self._tuner.schema, rows)
        if wrong:
            raise ConfigError(f'{self._recorder.path}: {wrong}, which no policy server writes: '
                              '`spaars finetune --resume` takes that step from the spool')
        self._tuner.catch_up(rows)
        get = self._tuner.schema.get
        kept = rows[-self._sequencer.capacity:]
        self._sequencer.remember(zip(get(kept, 'sequence').astype(int).tolist(), kept))
        self._last_stamp = float(get(rows[-1], 'stamp'))
        self._resumed = True
        # Until then it knows less than what acts, which learned from these steps already.
        self._redone = self._tuner.updates + self._tuner.updates_owed

    def _make_interfaces(self) -> None:
        self._policy, self._progress, self._fetch, self._diagnostics = (
            self.create_publisher(kind, topic, QOS[topic]) for kind, topic in (
                (UInt8MultiArray, 'learner/policy'), (Float64MultiArray, 'learner/progress'),
                (Float64MultiArray, 'learner/fetch'), (DiagnosticArray, '/diagnostics')))
        steps, multiplier, label = (
            self.create_subscription(Float64MultiArray, topic, self._border.guarded(topic, take),
                                     QOS[topic])
            for topic, take in (('policy_server/step', self._on_step),
                                ('cost_monitor/multiplier', self._on_multiplier),
                                (LABEL, self._on_label)))
        save = self.create_service(Trigger, 'learner/save', self._on_save)
        self._made = [
            *((self.destroy_publisher, made)
              for made in (self._policy, self._progress, self._fetch, self._diagnostics)),
            *((self.destroy_subscription, made) for made in (steps, multiplier, label)),
            (self.destroy_service, save), (Compiler.close, self._tuner.compiler)]

    def activate(self) -> None:
        """Begin to learn; a recovered run publishes its policy and asks for what it missed."""
        self._work_waits = self.create_guard_condition(self._work)
        # On the wall clock: a simulation that waits for the learner stops /clock.
        self._timer = self.create_timer(BEAT, self._on_beat,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))
        if self._resumed and self._tuner.updates >= self._redone:
            self._push()
        self._fetching.ask(self._sequencer.next, EVERYTHING)
        self._report()
        self._work_waits.trigger()

    def deactivate(self) -> None:
        """Write everything; what was learned so far is in the last checkpoint."""
        self.destroy_timer(self._timer)
        self.destroy_guard_condition(self._work_waits)
        self._save()
        if self._recorder is not None and not self._recorder.flush():
            self.get_logger().error(f'not everything is on disk: {self._recorder.error}')
        self._report()

    def cleanup(self) -> None:
        """Close the recording and remove what `configure` made."""
        for destroy, made in self._made:
            destroy(made)
        self._made = []
        if self._recorder is not None and not self._recorder.close():
            self.get_logger().error(f'transitions.mcap is not complete: {self._recorder.error}')
        self._recorder = None

    def _on_step(self, msg: Float64MultiArray) -> None:
        row = self._codec.row(msg)
        self._arrived = True
        for ready in self._intake.put(row):
            self._take(ready)
        while self._intake.corrected:
            self._correct(self._intake.corrected.pop(0))
        self._fetching.fill_gap()
        if self.is_active:
            self._work_waits.trigger()

    def _correct(self, row: Array) -> None:
        """Put the server's own record in the place of another that was taken for it."""
        assert self._recorder is not None
        self._recorder.correct_step(row)
        self.get_logger().error(self._intake.problem)
        if self._tuner.correct(row):
            return
        # It was learned from: as after a restart, without what the other one taught.
        self._recorder.flush()
        multipliers, version = self._tuner.multipliers, self._tuner.version
        self._tuner = make_tuner(self.values(), self._signer)
        self._learn_again()
        self._tuner.multipliers = multipliers
        self._tuner.version = max(self._tuner.version, version)

    def _codec_value(self, row: Array, name: str) -> float:
        return float(self._tuner.schema.get(row, name))

    def _take(self, row: Array) -> None:
        """Store a record, then learn from it."""
        assert self._recorder is not None
        self._recorder.write_step(row)
        self._tuner.add(row)
        self._last_stamp = self._codec_value(row, 'stamp')
        self._fetching.advanced()
        # Often enough for a simulation that waits for what was received.
        if self._sequencer.next % 8 == 0 or self._codec_value(row, 'flag'):
            self._report()

    def _on_multiplier(self, msg: Float64MultiArray) -> None:
        values = self._multipliers.read(msg)
        wanted = len(self._tuner.multipliers)
        if len(values['multiplier']) != wanted:
            raise CodecError('WRONG_SIZE', f'{len(values["multiplier"])} multipliers for '
                                           f'{wanted} constraints')
        self._tuner.multipliers = values['multiplier']
        if self._recorder is not None:
            self._recorder.write('cost_monitor/multiplier', values,
                                 round(self._last_stamp * 1e9))

    def _on_label(self, msg: Float64MultiArray) -> None:
        """Take what a person says of an episode; it is recorded like the steps."""
        values = self._labels.read(msg)
        episode, outcome = int(values['episode'][0]), Outcome(int(values['outcome'][0]))
        if self._labelled.get(episode) is outcome or self._recorder is None:
            return  # a latched topic says it again
        self._labelled[episode] = outcome
        self._recorder.write(LABEL, values, round(self._last_stamp * 1e9))
        if self._tuner.judge(episode, outcome):
            self.get_logger().info(f'episode {episode} is {outcome.name.lower()} now')

    def _work(self) -> None:
        """Do one update when one is owed and no message waits."""
        if not self.is_active or self._fault:
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
        """Hand out what was learned, once all owed updates are done."""
        if self._tuner.bundle_due and self._tuner.updates >= self._redone:
            self._push()
        if self._checkpoints.due(self._tuner.steps):
            self._save()
        self._report()

    def _push(self) -> None:
        bundle = self._tuner.export()
        self._policy.publish(encode_bytes(bundle.to_bytes(self._signer)))

    def _save(self) -> bool:
        """Write a checkpoint; a full disk is reported, and tried again."""
        if self._fault:
            return False  # what cannot be learned from must not be what the run goes on from
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
        self._fetching.on_beat()
        self._look_for_loss()
        if now - self._flushed > 1.0 and self._recorder is not None:
            self._flushed = now
            self._recorder.flush()
            self._diagnostics.publish(diagnostic_array(
                self.get_clock().now().to_msg(), [learner_status(
                    self._recorder, self._sequencer, self._tuner.progress(),
                    error=(self._fault or self._recorder.error or self._checkpoints.error
                           or self._border.news() or self._intake.problem),
                    more={**self._border.values(), 'conflicts': self._intake.conflicts,
                          'compiled': self._tuner.compiler.status},
                    alone=not self.count_publishers('policy_server/step'))]))
        if self._checkpoints.retry_due:
            self._save()
        if self._tuner.bundle_due and not self._fault:
            self._settle()
        if now - self._beaten >= BEAT:
            self._report()
        self._work_waits.trigger()

    def _look_for_loss(self) -> None:
        """End the run where steps can no longer be stored, or one can no longer be had."""
        lost = self._recorder.lost if self._recorder is not None else ''
        why = f'transitions.mcap {lost}' if lost else self._fetching.given_up
        if why and not self._fault:
            self._fault = why
            self.get_logger().fatal(why)
            self._report()

    def _report(self) -> None:
        assert self._recorder is not None
        self._beaten = time.monotonic()
        self._progress.publish(self._progress_codec.encode_fields(
            **{**self._tuner.progress(), 'received': self._sequencer.next,
               'stamp': self._last_stamp, 'recorded': self._recorder.count,
               'owed': 0 if self._fault else self._tuner.updates_owed,
               'fault': bool(self._fault)}))


def main(args: list[str] | None = None) -> int:
    """Run the node; returns its exit code."""
    with suppress(OSError):
        os.nice(NICENESS)  # the control loop beside it goes first
    return run_node(LearnerNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
