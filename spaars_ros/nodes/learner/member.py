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
"""One robot of a learner: its topics, its recording and its missing records."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import UInt8MultiArray

from spaars_ros.data.labels import TOPIC as LABEL
from spaars_ros.data.ranges import unfit
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.sequencer import Sequencer
from spaars_ros.nodes.learner.parameters import PROGRESS
from spaars_ros.nodes.learner.step_fetch import EVERYTHING
from spaars_ros.nodes.learner.step_fetch import StepFetch
from spaars_ros.nodes.learner.step_intake import StepIntake
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import TopicReader
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.qos import QOS

RECORDING = 'transitions.mcap'


class Member:
    """
    Data of one robot, stored durably before it is learned from.

    :param robot: namespace of the robot; '' for the namespace of the learner
    :param folder: run folder; a robot with a namespace has a subfolder of this name
    :param schema: layout of the step records
    """

    def __init__(self, robot: str, folder: Path, schema: StepSchema) -> None:
        self.robot = robot
        self.recorder = TransitionRecorder(folder / robot / RECORDING, schema)
        self.sequencer = Sequencer(self.recorder.next_sequence)
        self.multipliers: Array | None = None
        """(C,), one per constraint, from its cost monitor; None before the first message."""
        self.last_stamp = 0.0
        self.made: list[tuple[Any, Any]] = []
        """(destroy function, object) of each object that `listen` created."""
        self._schema = schema
        self._labelled: dict[int, Outcome] = {}
        self._codec = ArrayCodec(schema)
        self._progress_codec = ArrayCodec(dict.fromkeys(PROGRESS, 1))
        self._multiplier_reader = TopicReader('cost_monitor/multiplier', needs=('multiplier',))
        self._label_reader = TopicReader(LABEL)

    def topic(self, name: str) -> str:
        """Return the full name of a topic of the robot."""
        return f'/{self.robot}/{name}' if self.robot else name

    @property
    def title(self) -> str:
        """Return the name of its diagnostic status."""
        return f'learner: {self.robot}' if self.robot else 'learner'

    @property
    def prefix(self) -> str:
        """Return the prefix of a log line about this robot."""
        return f'{self.robot}: ' if self.robot else ''

    def recorded(self) -> Array | None:
        """
        Return the recorded steps (m, width) up to the first gap; None if there are none.

        Records after a gap are received again once the server has sent the missing ones.

        :raises ConfigError: a record has values that no policy server writes
        """
        if not self.recorder.count:
            return None
        _, rows = read_steps(self.recorder.path)
        rows = rows[:self.recorder.next_sequence]
        if not len(rows):
            return None
        wrong = unfit(self._schema, rows)
        if wrong:
            raise ConfigError(f'{self.recorder.path}: {wrong}, which no policy server writes: '
                              '`spaars finetune --resume` takes that step from the spool')
        get = self._schema.get
        kept = rows[-self.sequencer.capacity:]
        self.sequencer.remember(zip(get(kept, 'sequence').astype(int).tolist(), kept))
        self.last_stamp = float(get(rows[-1], 'stamp'))
        return rows

    def listen(self, node: ManagedNode, border: Border, *, step: Callable[[Array], None],
               multiplied: Callable[[], None], label: Callable[[int, Outcome], None],
               constraints: int) -> None:
        """
        Create the publishers and subscriptions of the robot.

        :param step: called with each received record (width,)
        :param multiplied: called after `multipliers` changed
        :param label: called with episode and outcome of each new label
        :param constraints: number of constraints
        """
        self._publishers = {name: node.create_publisher(kind, self.topic(name), QOS[name])
                            for kind, name in ((UInt8MultiArray, 'learner/policy'),
                                               (Float64MultiArray, 'learner/progress'),
                                               (Float64MultiArray, 'learner/fetch'))}
        self.fetching = StepFetch(self.sequencer, lambda first, last: self._publishers[
            'learner/fetch'].publish(Float64MultiArray(data=[first, last])))
        self.intake = StepIntake(self._schema, self.sequencer, self.fetching)

        def on_multiplier(msg: Float64MultiArray) -> None:
            self._take_multiplier(msg, constraints)
            multiplied()

        def on_label(msg: Float64MultiArray) -> None:
            found = self._take_label(msg)
            if found is not None:
                label(*found)
        subscriptions = [
            node.create_subscription(Float64MultiArray, self.topic(name), border.guarded(
                self.topic(name), take), QOS[name])
            for name, take in (
                ('policy_server/step', lambda msg: step(self._codec.row(msg))),
                ('cost_monitor/multiplier', on_multiplier), (LABEL, on_label))]
        self.made = [*((node.destroy_publisher, each) for each in self._publishers.values()),
                     *((node.destroy_subscription, each) for each in subscriptions)]

    def ask_for_the_rest(self) -> None:
        """Request all records of the robot that are not recorded yet."""
        self.fetching.ask(self.sequencer.next, EVERYTHING)

    def store(self, row: Array) -> None:
        """Record the next step (width,) in sequence."""
        self.recorder.write_step(row)
        self.last_stamp = float(self._schema.get(row, 'stamp'))
        self.fetching.advanced()

    def store_lesson(self, episode: int, steps: int, distance: float) -> None:
        """Record how far the actions of a person are from the outputs of the decoder."""
        self.recorder.write('learner/lesson', {
            'episode': episode, 'steps': steps, 'out_of_reach': distance},
            round(self.last_stamp * 1e9))

    def publish_policy(self, message: UInt8MultiArray) -> None:
        """Publish a bundle for the robot."""
        self._publishers['learner/policy'].publish(message)

    def publish_progress(self, progress: dict[str, float], *, owed: int, fault: bool,
                         paused: bool) -> None:
        """Publish the progress of the learner, with the next expected sequence number."""
        self._publishers['learner/progress'].publish(self._progress_codec.encode_fields(
            **{**progress, 'received': self.sequencer.next, 'stamp': self.last_stamp,
               'recorded': self.recorder.count, 'owed': owed, 'fault': fault, 'paused': paused}))

    def loss(self) -> str:
        """Return why steps cannot be stored, or why one cannot be fetched; '' if neither."""
        lost = self.recorder.lost
        why = f'{RECORDING} {lost}' if lost else self.fetching.given_up
        return self.prefix + why if why else ''

    def refused(self) -> str:
        """Return the last write error of the recording; '' while writing works."""
        return self.prefix + self.recorder.error if self.recorder.error else ''

    def news(self) -> str:
        """Return the newest inconsistency of its records; '' if none."""
        return self.prefix + self.intake.problem if self.intake.problem else ''

    def alone(self, node: ManagedNode) -> bool:
        """Return whether no policy server publishes its steps."""
        return not node.count_publishers(self.topic('policy_server/step'))

    def close(self, log: RcutilsLogger) -> None:
        """Close the recording and destroy what `listen` created."""
        for destroy, made in self.made:
            destroy(made)
        self.made = []
        if not self.recorder.close():
            log.error(f'{self.recorder.path} is not complete: {self.recorder.error}')

    def _take_multiplier(self, msg: Float64MultiArray, wanted: int) -> None:
        values = self._multiplier_reader.read(msg)
        if len(values['multiplier']) != wanted:
            raise CodecError('WRONG_SIZE', f'{len(values["multiplier"])} multipliers for '
                                           f'{wanted} constraints')
        self.multipliers = values['multiplier']
        self.recorder.write('cost_monitor/multiplier', values, round(self.last_stamp * 1e9))

    def _take_label(self, msg: Float64MultiArray) -> tuple[int, Outcome] | None:
        """Record the label of an episode; return episode and outcome if the label is new."""
        values = self._label_reader.read(msg)
        episode, outcome = int(values['episode'][0]), Outcome(int(values['outcome'][0]))
        if self._labelled.get(episode) is outcome:
            return None  # a latched topic delivers it again
        self._labelled[episode] = outcome
        self.recorder.write(LABEL, values, round(self.last_stamp * 1e9))
        return episode, outcome
