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

"""Import demonstrations from a bag: align states, commands and sources to control ticks."""

from collections.abc import Sequence
from dataclasses import dataclass
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.control.actuation import Actuation
from spaars_ros.control.person import Person
from spaars_ros.control.person import Wish
from spaars_ros.control.takeover import Takeover
from spaars_ros.data.bags import Bag
from spaars_ros.data.bags import BagError
from spaars_ros.data.bags import NANO
from spaars_ros.data.dataset import Dataset
from spaars_ros.data.derived_velocity import DerivedVelocity
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import contract_of
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.joint_states import JointStateReader
from spaars_ros.ros.sources.frames import Frames
from spaars_ros.run.bag_cuts import Cut
from spaars_ros.run.bag_cuts import cuts_at_rest
from spaars_ros.run.bag_cuts import cuts_by_topic
from spaars_ros.run.bag_sources import BagSources
from spaars_ros.run.bag_tracks import compare_clocks
from spaars_ros.run.bag_tracks import shift_of
from spaars_ros.run.bag_tracks import stamp_of
from spaars_ros.run.bag_tracks import Track
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import World
from spaars_ros.tasks.protocols import goal_of
from spaars_ros.tasks.protocols import Goals

STATES = 'sensor_msgs/msg/JointState'
EARLY = 0.9
"""Fraction of the control period; a state that comes sooner makes no tick, as in a run."""
GAP = 3.0
"""Control periods without a state after which an episode is split."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import."""

    joint_states: str = 'joint_states'
    command: str = ''
    """Topic of the actions: Float64MultiArray of joint velocities, or TwistStamped; '': actions
    are computed from the measured motion."""
    cut_by: str = ''
    """Topic or service whose messages end an episode; '': a rest ends it."""
    rest: float = 1.0
    """s; a longer rest separates two episodes."""
    clock: str = 'stamp'
    """stamp: time of the message header; log: time of recording."""


@dataclass
class Imported:
    """Result of an import."""

    dataset: Dataset
    notes: list[str]
    """Problems that were found, one line each with topic and time."""


def import_bag(path: str | os.PathLike[str], robot: Robot, task: Task,
               options: ImportOptions) -> Imported:
    """
    Import a bag as a dataset.

    :raises BagError: the bag cannot be imported; names topic and time
    :raises ConfigError: a source of the task is not declared
    :raises DatasetError: the result does not fit the robot or the task
    """
    return _Importer(Bag(path), robot, task, options).run()


class _Importer:
    def __init__(self, bag: Bag, robot: Robot, task: Task, options: ImportOptions) -> None:
        self.bag, self.robot, self.task, self.options = bag, robot, task, options
        self.notes: list[str] = []
        self.kinematics = Kinematics(robot)
        self._position: Array | None = None
        self.shift = 0
        """ns to add to a time of recording to convert it to the clock of the states."""
        self.takeover = Takeover(
            robot, task.spec, Person(len(robot.joints)),
            Actuation(robot, task.spec, SafetyFilter(robot), self.kinematics), self.kinematics,
            'guide')
        self.sources = BagSources(bag, task, Frames(
            self.kinematics, robot.tip, lambda: self._position), options.clock, self.notes)

    def run(self) -> Imported:
        states, command = self._read()
        self.shift = shift_of(states, self.options.clock)
        self.sources.see(self.shift)
        if self.options.clock != 'log':
            compare_clocks(self.bag, [states, *([command] if command else []),
                                      *self.sources.tracks.values()])
        ticks = self._ticks(states)
        cuts = cuts_by_topic(self.bag, self.options.cut_by, self.shift) \
            if self.options.cut_by \
            else cuts_at_rest([states.times[i] for i in ticks],
                              [states.values[i].position for i in ticks], self.options.rest,
                              self.robot)
        parts, outcomes = [], []
        for cut in cuts:
            for kept in self._parts(states, ticks, cut):
                # What lies before a gap did not bring about the outcome.
                last = max(states.times[i] for i in ticks if states.times[i] <= cut.end_ns)
                missed = (last - states.times[kept[-1]]) / NANO
                outcome = cut.outcome if missed <= GAP * self.robot.period else 'unlabelled'
                made = self._episode(states, kept, command, outcome in ('success', 'failure'))
                if made is not None:
                    parts.append(made)
                    outcomes.append(outcome)
        if not parts:
            raise BagError(f'{self.bag.path}: no demonstration in it: '
                           + ('; '.join(self.notes[:3]) or 'the arm never moves'))
        return Imported(self._dataset(parts, outcomes), self.notes)

    # Reading

    def _read(self) -> tuple[Track, Track | None]:
        o, bag = self.options, self.bag
        joints = bag.find(o.joint_states, 'joint states')
        if bag.types[joints] != STATES:
            raise BagError(f'{bag.path}: {joints} is {bag.types[joints]}, expected {STATES}')
        command = bag.find(o.command, 'command') if o.command else ''
        topics = {joints, *([command] if command else []), *self.sources.topics}
        states, asked = Track(joints), Track(command)
        reader = JointStateReader(
            self.robot.joints, effort=False, derived=DerivedVelocity(self.robot.period)
            if self.robot.velocity == 'derived' else None)
        for topic, log, msg in bag.messages(topics):
            if topic == joints:
                self._take_state(reader, states, log, msg)
            if topic == command:
                asked.add(stamp_of(msg), log, self._wish(msg, command, log), o.clock)
            self.sources.take(topic, log, msg)
        if not states.values:
            raise BagError(f'{bag.path}: {joints}: no whole state of {self.robot.joints}: '
                           f'{reader.heard or "nothing"} was heard')
        return states, asked if command else None

    def _take_state(self, reader: JointStateReader, track: Track, log: int, msg: Any) -> None:
        try:
            state = reader.read(msg)
        except CodecError as error:
            self._note(track.topic, log, str(error))
            return
        if state is None:
            return
        self._position = state.position
        time = log if self.options.clock == 'log' else state.stamp_ns
        if track.times and time <= track.times[-1]:
            if time < track.times[-1]:
                self._note(track.topic, log, 'a state that is older than the one before')
            return
        track.add(state.stamp_ns, log, state, self.options.clock)

    def _wish(self, msg: Any, topic: str, log: int) -> Wish:
        kind, d = self.bag.types[topic].rpartition('/')[2], len(self.robot.joints)
        if kind == 'TwistStamped':
            linear, angular = msg.twist.linear, msg.twist.angular
            values = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
            frame = str(msg.header.frame_id).lstrip('/')
            if not self.takeover.knows(frame):
                raise BagError(f'{self.bag.path}: {topic}: {self.bag.at(log)}: twist in the frame '
                               f'{frame!r}: expected base, tip, or a body or site of the model')
        elif kind == 'Float64MultiArray':
            values, frame = np.asarray(msg.data, np.float64), None  # type: ignore[assignment]
            if values.shape != (d,):
                raise BagError(f'{self.bag.path}: {topic}: {self.bag.at(log)}: {values.size} '
                               f'values for {d} joints')
        else:
            raise BagError(f'{self.bag.path}: {topic} is {self.bag.types[topic]}: actions come of '
                           'TwistStamped or Float64MultiArray of joint velocities; without '
                           '--command of the measured motion')
        if not np.isfinite(values).all():
            self._note(topic, log, f'{values.tolist()} is not finite: taken as 0')
            values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        return Wish(values, frame, 0.0)

    # Time

    def _ticks(self, states: Track) -> list[int]:
        """Return the indices of the states that make a tick."""
        period, ticks = self.robot.period, [0]
        for place, time in enumerate(states.times):
            if (time - states.times[ticks[-1]]) / NANO >= EARLY * period:
                ticks.append(place)
        return ticks

    def _parts(self, states: Track, ticks: Sequence[int], cut: Cut) -> list[list[int]]:
        """Return the ticks of an episode, split where states or samples are missing."""
        inside = [i for i in ticks if cut.begin_ns <= states.times[i] <= cut.end_ns]
        known = [i for i in inside if self.sources.at(states.times[i]) is not None]
        if inside and len(known) < 2:
            self.notes.append(f'an episode {self._when(states, inside[0])} has no sample that is '
                              'new enough of '
                              + ', '.join(self.sources.lacking(states.times[i] for i in inside)))
        parts: list[list[int]] = [[]]
        for i in known:
            last = parts[-1][-1] if parts[-1] else i
            gap = (states.times[i] - states.times[last]) / NANO
            if gap > GAP * self.robot.period:
                missed = [states.times[j] for j in inside if last < j < i]
                what = f'{", ".join(self.sources.lacking(missed))}: {gap:.2f} s without a sample' \
                    if missed else f'{states.topic}: {gap:.2f} s without a state'
                self.notes.append(f'{what}, {self._when(states, i)}: the episode is cut there')
                parts.append([])
            parts[-1].append(i)
        return [part for part in parts if len(part) > 1]

    def _when(self, states: Track, i: int) -> str:
        return self.bag.at(states.times[i] - self.shift)

    def _episode(self, states: Track, kept: list[int], command: Track | None, judged: bool
                 ) -> dict[str, NDArray[Any]] | None:
        rng = np.random.default_rng(0)
        goal = goal_of(self.task, rng)  # replaced by the one that was reached
        observations = [self.task.observe(World(
            states.values[i], self.kinematics, self.sources.at(states.times[i]) or {}), goal)
            for i in kept]
        seen = self._with_goal(np.asarray(observations, np.float64), rng)
        if seen is None:
            self.notes.append(f'an episode ends {self._when(states, kept[-1])} where no goal of '
                              f'the task {self.task.name!r} is: left out')
            return None
        actions = np.stack([self._action(states, i, j, command)
                            for i, j in zip(kept[:-1], kept[1:])])
        count = len(actions)
        ends = np.arange(count) == count - 1
        return {'observations': seen[:-1], 'next_observations': seen[1:], 'actions': actions,
                'efforts': np.stack([states.values[i].effort for i in kept[1:]]),
                'terminations': ends & judged, 'truncations': ends & (not judged)}

    def _action(self, states: Track, i: int, j: int, command: Track | None) -> Array:
        before: RobotState = states.values[i]
        if command is not None:
            place = command.before(states.times[i] + round(0.5 * self.robot.period * NANO))
            wish = command.values[place] if place >= 0 else Wish(
                np.zeros(len(self.robot.joints)), None, 0.0)
        else:
            time = (states.times[j] - states.times[i]) / NANO
            wish = Wish((states.values[j].position - before.position) / time, None, 0.0)
        return np.clip(self.takeover.action_of(wish, before), -1.0, 1.0)

    def _with_goal(self, observations: Array, rng: np.random.Generator) -> Array | None:
        """Return observations (T, n) relabelled with the goal reached; None: no goal there."""
        task: Any = self.task
        if not isinstance(task, Goals):
            return observations
        last = observations[-1:]
        goal = task.hindsight(last, last, rng)
        if not np.isfinite(goal).all():
            return None
        return np.asarray(task.relabel(observations, np.broadcast_to(
            goal[0], (len(observations), goal.shape[-1]))))

    def _dataset(self, parts: Sequence[dict[str, NDArray[Any]]],
                 outcomes: Sequence[str]) -> Dataset:
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        episode = np.repeat(np.arange(len(parts)), [len(part['actions']) for part in parts])
        names = self.task.observation_names
        data = Dataset(**arrays, episode=episode, attributes={
            'robot': self.robot.name, 'joints': list(self.robot.joints),
            'action_scale': self.robot.control.action_scale, 'observation_names': list(names),
            'contract': contract_of(self.robot, names).model_dump_json(),
            **self.task.attributes, 'outcomes': list(outcomes),
            'source': f'spaars import {self.bag.path.name}'})
        data.check(self.robot, self.task, str(self.bag.path))
        return data

    def _note(self, topic: str, log: int, text: str) -> None:
        self.notes.append(f'{topic}: {self.bag.at(log)}: {text}')
