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

"""Demonstrations out of bags of rosbag2, of both storages, and what does not fit in them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores
from typer.testing import CliRunner
import yaml

from spaars_ros.cli import app
from spaars_ros.data.bags import Bag
from spaars_ros.data.bags import BagError
from spaars_ros.data.dataset import load_dataset
from spaars_ros.robot.config import load_robot
from spaars_ros.run.bag_import import import_bag
from spaars_ros.run.bag_import import Imported
from spaars_ros.run.bag_import import ImportOptions
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task

STORE = get_typestore(Stores.LATEST)
START = 1_700_000_000_000_000_000
PANDA, PEG = load_robot(), load_robot('panda_peg')
ANYWHERE = {'target_low': (-1.0, -1.0, 0.0), 'target_high': (1.0, 1.0, 1.5)}
REACH = make_task(PANDA, load_task('reach').model_copy(update=ANYWHERE))
INSERT = make_task(PEG, load_task('insert'))
DIRECTIONS = (0.2 * np.eye(7)[1], -0.15 * np.eye(7)[3])
"""Joint velocities of the two demonstrations in a bag, rad/s."""


def message(kind: str, stamp: int | None = None, frame: str = '', /, **fields: Any) -> Any:
    types = STORE.types
    if stamp is not None:
        seconds, rest = divmod(stamp, 10**9)
        fields['header'] = types['std_msgs/msg/Header'](
            stamp=types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=rest), frame_id=frame)
    return types[kind](**fields)


def vector(values: Any) -> Any:
    x, y, z = map(float, values)
    return STORE.types['geometry_msgs/msg/Vector3'](x=x, y=y, z=z)


class Tape:
    """A simulated arm that is led twice, with a rest between, on a tape."""

    def __init__(self, robot: Any = PANDA, rate: int = 100) -> None:
        self.robot, self.rate = robot, rate
        self.events: list[tuple[int, str, str, Any]] = []
        """Time of recording, topic, type, message."""
        arm = Arm(robot.model_copy(update={
            'control': robot.control.model_copy(update={'rate': float(rate)})}))
        now = START
        for direction in (None, DIRECTIONS[0], None, DIRECTIONS[1], None):
            ticks = round((1.5 if direction is None else 2.0) * rate)
            for _ in range(ticks):
                velocity = np.zeros(7) if direction is None else direction
                state = arm.state()
                self.add(now, '/joint_states', 'sensor_msgs/msg/JointState', message(
                    'sensor_msgs/msg/JointState', now, name=list(robot.joints),
                    position=state.position.copy(), velocity=state.velocity.copy(),
                    effort=state.effort.copy()))
                layout = message('std_msgs/msg/MultiArrayLayout', dim=[], data_offset=0)
                self.add(now, '/command', 'std_msgs/msg/Float64MultiArray', message(
                    'std_msgs/msg/Float64MultiArray', layout=layout, data=velocity.copy()))
                arm.step(velocity)
                now += 10**9 // rate
            if direction is not None:
                word = 'success' if direction is DIRECTIONS[0] else 'failure'
                self.add(now + 1, '/said', 'std_msgs/msg/String',
                         message('std_msgs/msg/String', data=word))
                self.add(now + 2, '/done/_service_event', 'std_msgs/msg/Bool',
                         message('std_msgs/msg/Bool', data=True))
                self.add(now + 3, '/done/_service_event', 'std_msgs/msg/Bool',
                         message('std_msgs/msg/Bool', data=True))
        self.end = now

    def add(self, time: int, topic: str, kind: str, msg: Any) -> None:
        self.events.append((time, topic, kind, msg))

    def write(self, path: Path, storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
        with Writer(path, version=9, storage_plugin=storage) as writer:
            connections: dict[str, Any] = {}
            for time, topic, kind, msg in sorted(self.events, key=lambda each: each[0]):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
                writer.write(connections[topic], time, STORE.serialize_cdr(msg, kind))
        return path


def imported(path: Path, robot: Any = PANDA, task: Any = REACH, **options: Any) -> Imported:
    return import_bag(path, robot, task, replace(ImportOptions(), **options))


@pytest.fixture(scope='module')
def tape() -> Tape:
    return Tape()


@pytest.fixture(scope='module', params=list(StoragePlugin))
def bag(request: pytest.FixtureRequest, tape: Tape,
        tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same bag in both storages."""
    return tape.write(tmp_path_factory.mktemp('bag') / 'bag', request.param)


def test_episodes_are_cut_at_rest_and_actions_are_the_measured_motion(bag: Path) -> None:
    made = imported(bag)
    data = made.dataset
    assert data.episodes == 2 and not made.notes
    scale = PANDA.control.action_scale * np.asarray(PANDA.limits.velocity)
    for number, direction in enumerate(DIRECTIONS):
        actions = data.actions[data.episode == number]
        assert 36 <= len(actions) <= 43, 'two seconds at 20 Hz'
        assert np.median(actions, axis=0) * scale == pytest.approx(direction, abs=0.01)
    assert data.truncations.sum() == 2 and not data.terminations.any()
    data.check(PANDA, REACH)


def test_commands_and_words_are_taken_where_they_are_named(bag: Path) -> None:
    data = imported(bag, command='command', cut_by='/said', rest=1.0).dataset
    assert list(data.attributes['outcomes']) == ['success', 'failure']
    assert data.terminations.sum() == 2
    scale = PANDA.control.action_scale * np.asarray(PANDA.limits.velocity)
    assert data.actions[np.flatnonzero(data.terminations)[0] - 5] * scale == pytest.approx(
        DIRECTIONS[0], abs=1e-6)


def test_calls_of_a_service_end_an_episode_once(bag: Path) -> None:
    assert imported(bag, cut_by='/done').dataset.episodes == 2


def test_the_command_writes_a_set_that_can_be_learned_from(bag: Path, tmp_path: Path) -> None:
    out, task = tmp_path / 'mine.h5', tmp_path / 'task.yaml'
    task.write_text(yaml.safe_dump({**load_task('reach').model_dump(mode='json'), **{
        name: list(value) for name, value in ANYWHERE.items()}}))
    done = CliRunner().invoke(app, ['import', str(bag), '--out', str(out), '--cut-by', 'said',
                                    '--task', str(task)], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert load_dataset(out, PANDA, REACH).episodes == 2


@pytest.mark.parametrize('options, said', [
    ({'joint_states': 'states'}, r"no topic 'states' in it; there are /command \(Float64Multi"),
    ({'command': '/twist'}, "command: no topic '/twist'"),
    ({'cut_by': 'nothing'}, "cut by 'nothing': neither a topic nor a service"),
    ({'command': 'said'}, 'actions come of TwistStamped or Float64MultiArray'),
    ({'joint_states': 'command'}, 'expected sensor_msgs/msg/JointState')])
def test_a_bag_without_what_is_named_says_what_it_has(bag: Path, options: dict[str, Any],
                                                      said: str) -> None:
    with pytest.raises(BagError, match=said):
        imported(bag, **options)


def test_clocks_that_differ_between_topics_are_named(tmp_path: Path) -> None:
    tape = Tape()
    for time, topic, _, _ in list(tape.events):
        if topic == '/joint_states':
            stamp = time - 3_200_000_000
            tape.add(time, '/twist', 'geometry_msgs/msg/TwistStamped', message(
                'geometry_msgs/msg/TwistStamped', stamp, 'base', twist=STORE.types[
                    'geometry_msgs/msg/Twist'](linear=vector((0.05, 0, 0)),
                                               angular=vector((0, 0, 0)))))
    path = tape.write(tmp_path / 'bag')
    with pytest.raises(BagError, match=r'clocks differ: /twist is stamped 3.200 s behind'):
        imported(path, command='twist')
    data = imported(path, command='twist', clock='log').dataset
    assert data.episodes == 2


def test_a_twist_in_a_frame_that_nobody_knows_is_named(tmp_path: Path) -> None:
    tape = Tape()
    for time, topic, _, _ in list(tape.events):
        if topic == '/joint_states':
            tape.add(time, '/twist', 'geometry_msgs/msg/TwistStamped', message(
                'geometry_msgs/msg/TwistStamped', time, 'somewhere', twist=STORE.types[
                    'geometry_msgs/msg/Twist'](linear=vector((0.05, 0, 0)),
                                               angular=vector((0, 0, 0)))))
    with pytest.raises(BagError, match=r'/twist: 0.000 s into the bag: twist in the frame'):
        imported(tape.write(tmp_path / 'bag'), command='twist')


def drop(tape: Tape, keep: Callable[[int, str], bool]) -> None:
    tape.events = [event for event in tape.events if keep(event[0], event[1])]


def test_an_episode_that_ends_where_no_goal_is_is_left_out_and_named(bag: Path) -> None:
    narrow = make_task(PANDA, load_task('reach').model_copy(update={
        'target_low': (0.4, 0.3, 0.5), 'target_high': (0.42, 0.32, 0.52)}))
    with pytest.raises(BagError, match='no goal of the task'):
        imported(bag, task=narrow)


def test_a_hole_in_the_states_cuts_the_episode_and_is_named(tmp_path: Path) -> None:
    tape = Tape()
    drop(tape, lambda time, topic: not (topic == '/joint_states'
                                        and 2_300_000_000 < time - START < 2_900_000_000))
    made = imported(tape.write(tmp_path / 'bag'))
    assert made.dataset.episodes == 3
    assert any('/joint_states: 0.6' in note and 's into the bag' in note for note in made.notes)


def test_states_that_are_no_numbers_are_passed_over_and_named(tmp_path: Path) -> None:
    tape = Tape()
    for time, topic, _, msg in tape.events:
        if topic == '/joint_states' and 2_000_000_000 <= time - START < 2_030_000_000:
            msg.position[2] = np.nan
    made = imported(tape.write(tmp_path / 'bag'))
    assert np.isfinite(made.dataset.observations).all()
    assert any('2.000 s into the bag' in note and 'panda_joint3' in note for note in made.notes)


def test_joints_of_another_robot_are_named(tmp_path: Path) -> None:
    tape = Tape()
    for _, topic, _, msg in tape.events:
        if topic == '/joint_states':
            msg.name = [f'arm_{i}' for i in range(7)]
    with pytest.raises(BagError, match='arm_0'):
        imported(tape.write(tmp_path / 'bag'))


def test_a_task_with_sources_gets_them_from_the_bag(tmp_path: Path) -> None:
    tape = Tape(PEG)
    for time, topic, _, _ in list(tape.events):
        if topic != '/joint_states':
            continue
        tape.add(time, '/wrist/wrench', 'geometry_msgs/msg/WrenchStamped', message(
            'geometry_msgs/msg/WrenchStamped', time, '', wrench=STORE.types[
                'geometry_msgs/msg/Wrench'](force=vector((0, 0, -3)), torque=vector((0, 0, 0)))))
        if time - START > 2_000_000_000:  # the camera is later
            tape.add(time, '/hole/point', 'geometry_msgs/msg/PointStamped', message(
                'geometry_msgs/msg/PointStamped', time, 'base', point=STORE.types[
                    'geometry_msgs/msg/Point'](x=0.5, y=0.0, z=0.2)))
    path = tape.write(tmp_path / 'bag')
    data = imported(path, PEG, INSERT).dataset
    assert data.episodes == 2
    assert (data.episode == 0).sum() < 35, 'nothing is made up for what no source had said yet'
    lone = Tape(PEG).write(tmp_path / 'without')
    with pytest.raises(BagError, match=r"source \w+: no topic '(wrist/wrench|hole/point)'"):
        imported(lone, PEG, INSERT)


@pytest.mark.parametrize('make, said', [
    (lambda path: path.mkdir(), 'no .mcap file'),
    (lambda path: path.write_bytes(b'no bag'), 'not an MCAP file'),
    (lambda path: None, 'no such bag')])
def test_what_is_no_bag_is_named(tmp_path: Path, make: Callable[[Path], Any], said: str) -> None:
    path = tmp_path / 'bag'
    make(path)
    with pytest.raises(BagError, match=said):
        Bag(path)


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'bag.db3'
    path.write_bytes(b'SQLite format 3\0' + b'x' * 500)
    with pytest.raises(BagError, match='not a bag of rosbag2'):
        Bag(path)


def test_a_message_with_broken_bytes_is_named(tape: Tape, tmp_path: Path) -> None:
    import sqlite3
    path = tape.write(tmp_path / 'bag', StoragePlugin.SQLITE3)
    with sqlite3.connect(next(path.glob('*.db3'))) as database:
        database.execute("UPDATE messages SET data = x'0001000000' WHERE id = 40")
    with pytest.raises(BagError, match=r's into the bag: not a '):
        imported(path, command='command')
