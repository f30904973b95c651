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

"""Store episodes from step records in replays, demonstrations and the algorithm's memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.constraints.costs import transition_costs
from spaars_ros.data.dataset import Dataset
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.seams import is_terminal
from spaars_ros.data.seams import learnable_parts
from spaars_ros.learning.core.algorithm import Episode
from spaars_ros.learning.core.deployable import Deployable
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.online.judged import Judged
from spaars_ros.learning.online.judged import Key
from spaars_ros.learning.online.lessons import Lessons
from spaars_ros.learning.online.lessons import ROOM
from spaars_ros.learning.online.pretrain import give_data
from spaars_ros.learning.online.pretrain import replay_of
from spaars_ros.learning.online.stream import Stream
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import Task

CAPACITY = 1_000_000


@dataclass(frozen=True)
class Finished:
    """Finished episode that is not yet counted in a checkpoint."""

    rows: Array
    """(T + 1, width) step records."""
    observations: Array
    """(T + 1, n) physical units."""
    modes: NDArray[Any]
    """(T,) `Mode` of each action."""
    rewards: Array
    """(T,) rewards, given or computed by the task."""
    costs: Array
    """(T, C) costs per constraint."""
    discarded: bool
    """Whether the operator has discarded the episode."""


class Experience:
    """
    Builds episodes from the records of all robots, and stores them for learning.

    :param algorithm: gets the demonstrations here, and later every learnable part of an episode
    :param seed: seed of the draws of lessons
    """

    def __init__(self, algorithm: Deployable, schema: StepSchema, *, robot: Robot, task: Task,
                 demonstrations: Dataset, seed: int) -> None:
        t = algorithm.training
        self.algorithm, self.schema, self.robot, self.task = algorithm, schema, robot, task
        self.offline = replay_of(demonstrations, algorithm.normaliser, task, t, room=ROOM)
        self.online = Replay(
            CAPACITY, task, algorithm.normaliser, action=task.spec.action_dim,
            constraints=len(task.constraint_names), gamma=t.gamma, n_step=t.n_step,
            scale=t.reward_scale, shaping=t.shaping, given=bool(task.settings.reward))
        give_data(algorithm, demonstrations, self.offline)
        self._judged = {'online': Judged(self.online), 'offline': Judged(self.offline)}
        self._labels: dict[Key, Outcome] = {}
        self.lessons = Lessons(self.offline, self._judged['offline'], seed)
        self.streams: dict[str, Stream] = {}
        """Robot -> stream of its records."""

    def stream(self, robot: str = '') -> Stream:
        """Return the stream of a robot's records; it is created on first use."""
        if robot not in self.streams:
            self.streams[robot] = Stream(self.schema)
        return self.streams[robot]

    def store(self, records: list[Array], robot: str) -> Finished | None:
        """
        Store a finished episode.

        :param records: step records (width,) of the episode
        :param robot: namespace; '' for a single robot
        :return: the episode; None if it has fewer than 2 records or a checkpoint has counted it
        """
        if len(records) < 2:
            return None
        rows = np.stack(records)
        get = self.schema.get
        observations = get(rows, 'observation')
        modes, actions = get(rows, 'mode')[:-1], get(rows, 'action')[:-1]
        episode = (robot, int(get(rows[-1], 'episode')))
        if episode in self._labels:
            rows[-1, self.schema.fields['outcome']] = self._labels[episode]
        discarded = bool(get(rows[-1], 'outcome') == Outcome.DISCARDED)
        terminated = bool(is_terminal(self.schema, rows[-1]))
        costs = transition_costs(self.task, self.robot.constraints, self.schema, rows)
        # NaN: the task computes the reward.
        given = np.where(get(rows[1:], 'reward_given') > 0, get(rows[1:], 'reward'), np.nan)
        computed = self.task.reward(observations[:-1], actions, observations[1:])
        rewards = np.where(np.isnan(given), computed, given)
        skills = rows[:-1, self.schema.fields['latent']]  # (T, k), also for k = 1
        steps = get(rows, 'skill_step')[:-1].copy()
        for part in [] if discarded else learnable_parts(self.schema, rows):
            seen = slice(part.start, part.stop + 1)
            ends = terminated and part.stop == len(modes)
            kept = {'costs': costs[part], 'modes': modes[part], 'rewards': given[part]}
            self._judged['online'].add(episode, observations[seen], actions[part], ends, **kept)
            if modes[part.start] == Mode.HUMAN:
                # No skill was in effect: cut the human actions into chunks of a skill's length.
                steps[part] = np.arange(part.stop - part.start) \
                    % self.algorithm.training.skill_length
                self._teach(episode, observations[seen], actions[part], ends, kept)
            self.algorithm.store_episode(Episode(
                observations[seen], actions[part], rewards[part], costs[part], modes[part], ends,
                skills[part], steps[part]))
        if get(rows[-1], 'sequence') < self.stream(robot).counted_from:
            return None  # replayed from the recording; already counted in the checkpoint
        return Finished(rows, observations, modes, rewards, costs, discarded)

    def _teach(self, episode: Key, observations: Array, actions: Array, ends: bool,
               kept: dict[str, Array]) -> None:
        """Add a part with human actions to the demonstrations, if there is room."""
        if self.lessons.has_room(len(actions)):
            distance = self.algorithm.out_of_reach(
                self.algorithm.normaliser(observations[:-1]), np.asarray(actions, np.float32))
            self.lessons.add(episode, observations, actions, ends, distance, **kept)

    def judge(self, number: int, outcome: Outcome, robot: str = '') -> bool:
        """
        Apply the operator's label of an episode; return whether a replay has changed.

        A discarded episode is removed from the replays; with another label it returns only when
        the run is resumed. The label of an unfinished episode is applied at its end.

        :param number: number of the episode
        """
        episode = (robot, number)
        self._labels[episode] = outcome
        changed = [judged.judge(episode, outcome) for judged in self._judged.values()]
        return any(changed)

    def state(self) -> dict[str, Any]:
        """Return, per robot, the first record to add again: the start of the running episode."""
        return {robot: each.taken_again_from for robot, each in self.streams.items()}

    def restore(self, received: int | dict[str, int]) -> None:
        """Restore `state()`, or the single number that version 0.1.0 wrote for one robot."""
        for robot, number in ({'': received} if isinstance(received, int) else received).items():
            self.stream(robot).counted_from = int(number)

    @property
    def running_steps(self) -> int:
        """Return the number of environment steps of the running episodes."""
        return sum(each.running_steps for each in self.streams.values())
