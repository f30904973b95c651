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
"""One robot of a learner: its topics, its recording, and which of its records are missing."""

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
    What the learner has of one robot, stored durably before anybody learns from it.

    :param robot: namespace, '' for the learner's own
    :param folder: of the run; a robot with a name has a folder of its own in it
    """

    def __init__(self, robot: str, folder: Path, schema: StepSchema) -> None:
        self.robot = robot
        self.recorder = TransitionRecorder(folder / robot / RECORDING, schema)
        self.sequencer = Sequencer(self.recorder.next_sequence)
        self.multipliers: Array | None = None
        """Of its cost monitor, None before it was heard."""
        self.last_stamp = 0.0
        self.made: list[tuple[Any, Any]] = []
        """What `listen` made, and what destroys it."""
        self._schema = schema
        self._labelled: dict[int, Outcome] = {}
        self._codec = ArrayCodec(schema)
        self._progress_codec = ArrayCodec(dict.fromkeys(PROGRESS, 1))
        self._multiplier_reader = TopicReader('cost_monitor/multiplier', needs=('multiplier',))
        self._label_reader = TopicReader(LABEL)

    def topic(self, name: str) -> str:
        """Return the name of one of the robot's topics."""
        return f'/{self.robot}/{name}' if self.robot else name

    @property
    def title(self) -> str:
        """Return the name of what the diagnostics say about it."""
        return f'learner: {self.robot}' if self.robot else 'learner'

    @property
    def prefix(self) -> str:
        """Return what a line about this robot begins with."""
        return f'{self.robot}: ' if self.robot else ''

    def recorded(self) -> Array | None:
        """
        Return the records (m, width) up to the first gap, None where there is none.

        What lies behind a gap is taken again when the server has sent what is missing.

        :raises ConfigError: a record holds what no policy server writes
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
        Make the robot's publishers and subscriptions.

        :param step: takes a record as it came
        :param multiplied: called when `multipliers` changed
        :param label: takes what a person says of an episode
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
        """Ask the robot for everything that it has and is not recorded."""
        self.fetching.ask(self.sequencer.next, EVERYTHING)

    def store(self, row: Array) -> None:
        """Record a step whose turn it is."""
        self.recorder.write_step(row)
        self.last_stamp = float(self._schema.get(row, 'stamp'))
        self.fetching.advanced()

    def store_lesson(self, episode: int, steps: int, distance: float) -> None:
        """Record how far a person's actions were from what the decoder makes."""
        self.recorder.write('learner/lesson', {
            'episode': episode, 'steps': steps, 'out_of_reach': distance},
            round(self.last_stamp * 1e9))

    def publish_policy(self, message: UInt8MultiArray) -> None:
        """Hand the robot a bundle."""
        self._publishers['learner/policy'].publish(message)

    def publish_progress(self, progress: dict[str, float], *, owed: int, fault: bool,
                         paused: bool) -> None:
        """Tell the robot how far its records got."""
        self._publishers['learner/progress'].publish(self._progress_codec.encode_fields(
            **{**progress, 'received': self.sequencer.next, 'stamp': self.last_stamp,
               'recorded': self.recorder.count, 'owed': owed, 'fault': fault, 'paused': paused}))

    def loss(self) -> str:
        """Return why its steps can no longer be stored, or one no longer be had, or ''."""
        lost = self.recorder.lost
        why = f'{RECORDING} {lost}' if lost else self.fetching.given_up
        return self.prefix + why if why else ''

    def refused(self) -> str:
        """Return what the disk last said, '' while writing works."""
        return self.prefix + self.recorder.error if self.recorder.error else ''

    def news(self) -> str:
        """Return what is odd about its records, '' while nothing is."""
        return self.prefix + self.intake.problem if self.intake.problem else ''

    def alone(self, node: ManagedNode) -> bool:
        """Return whether nobody publishes its steps."""
        return not node.count_publishers(self.topic('policy_server/step'))

    def close(self, log: RcutilsLogger) -> None:
        """Close the recording and remove what `listen` made."""
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
        """Record what a person says of an episode; return it where it is new."""
        values = self._label_reader.read(msg)
        episode, outcome = int(values['episode'][0]), Outcome(int(values['outcome'][0]))
        if self._labelled.get(episode) is outcome:
            return None  # a latched topic says it again
        self._labelled[episode] = outcome
        self.recorder.write(LABEL, values, round(self.last_stamp * 1e9))
        return episode, outcome
