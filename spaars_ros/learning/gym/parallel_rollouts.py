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
"""Training episodes that run at the same time, one per environment, with one policy."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Algorithm
from spaars_ros.learning.core.algorithm import EpisodeLearner
from spaars_ros.learning.core.algorithm import EpisodeState
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.gym.progress import Progress
from spaars_ros.learning.gym.rollout import ActionScaler
from spaars_ros.learning.gym.rollout import Array
from spaars_ros.learning.gym.rollout import Rollout
from spaars_ros.learning.gym.rollout import SEGMENT
from spaars_ros.learning.gym.versions import Kept
from spaars_ros.learning.gym.versions import Versions
from spaars_ros.sim.parallel_environments import Environments

SEGMENT_OF_SEVERAL = 200
"""`SEGMENT` where several episodes run: longer, since no return and no hindsight goal reaches
across a seam; an arm's episode is mostly shorter than this."""


@dataclass(eq=False)
class Running:
    """An episode and what belongs to it alone."""

    rollout: Rollout
    rng: np.random.Generator
    """Of its exploration."""
    version: int
    """Of the policy that acts in it; -1 without a champion."""
    weights: Kept | None
    """Those of the version; None: the newest."""
    state: Any = None
    """What the algorithm keeps of it (`EpisodeState`), while another one acts."""


class ParallelRollouts:
    """
    Does exploring steps in all environments together.

    Each episode has a number, and from it the seed of its reset and of its exploration. Episodes
    that run when a training is interrupted, or when it ends, are not finished: what they stored
    is kept and counted, nothing else of them is, and a resumed training begins others under new
    numbers. So it may be resumed with another number of environments.
    """

    def __init__(self, environments: Environments, boxes: ActionScaler, algorithm: Algorithm,
                 versions: Versions, replay: Replay, progress: Progress, *, seed: int) -> None:
        self._environments, self._boxes, self._algorithm = environments, boxes, algorithm
        self._versions, self._replay, self._progress = versions, replay, progress
        self._seed = seed
        self._several = environments.count > 1
        self._running: list[Running | None] = [None] * environments.count

    def advance(self) -> int:
        """Do steps until transitions are stored; return the number of transitions stored."""
        running, stored = self._begin(), 0
        with self._versions.exchange() as put:
            while not stored:
                choices = []
                for each in running:
                    put(each.weights)
                    choices.append(self._choose(each))
                steps = self._environments.step(
                    [self._boxes.physical(choice.action) for choice in choices])
                stored = sum(each.rollout.add(choice, step)
                             for each, choice, step in zip(running, choices, steps))
        return stored

    def take_ended(self) -> list[Running]:
        """Return the episodes that have ended; new ones begin with the next step."""
        ended = [each for each in self._running if each is not None and each.rollout.done]
        self._running = [None if each in ended else each for each in self._running]
        return ended

    def enter(self, episode: Running) -> None:
        """Give the algorithm what it keeps of an episode, to act in it or to learn from it."""
        if self._several and isinstance(self._algorithm, EpisodeState):
            self._algorithm.set_episode_state(episode.state)

    def stop(self) -> None:
        """Abandon the episodes that run and end the processes."""
        self._running = [None] * self._environments.count
        self._environments.stop()

    def _choose(self, episode: Running) -> ActionSample:
        self.enter(episode)
        choice = self._algorithm.choose(episode.rollout.observations[-1], episode.rng, True)
        self._leave(episode)
        return choice

    def _leave(self, episode: Running) -> None:
        if self._several and isinstance(self._algorithm, EpisodeState):
            episode.state = self._algorithm.episode_state()

    def _begin(self) -> list[Running]:
        """Begin an episode in every environment that has none; return all that run."""
        places = [place for place, each in enumerate(self._running) if each is None]
        first = self._progress.begun
        numbers = {place: first + count for count, place in enumerate(places)}
        observations = {} if not places else self._environments.reset(
            {place: self._env_seed(number) for place, number in numbers.items()})
        for place, number in numbers.items():
            self._running[place] = self._begun(observations[place], number)
        self._progress.begun += len(places)
        return [each for each in self._running if each is not None]

    def _begun(self, observation: Array, number: int) -> Running:
        segment = SEGMENT_OF_SEVERAL if self._several else SEGMENT
        episode = Running(Rollout(observation, self._replay, segment),
                          np.random.default_rng([self._seed, number, 1]), self._versions.number,
                          self._versions.weights)
        if isinstance(self._algorithm, EpisodeLearner):
            self._algorithm.begin_episode()
        self._leave(episode)
        return episode

    def _env_seed(self, number: int) -> int:
        return int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
