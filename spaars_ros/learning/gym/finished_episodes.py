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
"""Processing of a finished training episode: learning, multipliers, champion, log line."""

import warnings

import numpy as np

from spaars_ros.constraints.episode_limits import EpisodeLimits
from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.algorithm import Algorithm
from spaars_ros.learning.core.algorithm import Episode
from spaars_ros.learning.core.algorithm import EpisodeLearner
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.gym.progress import Progress
from spaars_ros.learning.gym.rollout import Rollout
from spaars_ros.learning.gym.training_folder import TrainingFolder
from spaars_ros.learning.gym.versions import Versions


class FinishedEpisodes:
    """Passes finished training episodes to algorithm, multipliers and versions, and logs them."""

    def __init__(self, algorithm: Algorithm, replay: Replay, versions: Versions,
                 limits: EpisodeLimits, progress: Progress, folder: TrainingFolder) -> None:
        self._algorithm, self._replay, self._versions = algorithm, replay, versions
        self._limits, self._progress, self._folder = limits, progress, folder

    def take(self, episode: Rollout, version: int, updates: int) -> None:
        """
        Process a finished episode and write its line to `episodes.jsonl`.

        :param version: version of the policy that acted, -1 without a champion
        :param updates: number of online updates so far
        """
        algorithm, progress = self._algorithm, self._progress
        controllers = self._limits.controllers
        observations, modes = np.asarray(episode.observations), np.asarray(episode.modes)
        rewards, costs = np.asarray(episode.rewards), np.asarray(episode.costs)
        if isinstance(algorithm, EpisodeLearner):
            algorithm.take_episode(Episode(observations, np.asarray(episode.actions), rewards,
                                           costs, modes, episode.terminated))
        algorithm.end_episode(observations, modes, progress.steps, self._replay)
        if controllers and not progress.episodes and not episode.reported_costs:
            warnings.warn(f'cost limit {controllers[0].limit:g}: the environment reported no cost '
                          "in its first episode, neither info['cost'] nor info['costs']; a step "
                          'without one counts as 0', stacklevel=2)
        if controllers:
            algorithm.set_multipliers(self._limits.update(costs))
        self._versions.take(version, rewards, costs[:, :len(controllers)],
                            np.array([each.value for each in controllers]), updates)
        progress.episodes += 1
        progress.succeeded.append(episode.success)
        total = costs.sum(0)
        self._folder.append('episodes.jsonl', {
            'episode': progress.episodes, 'steps': progress.steps, 'updates': updates,
            'return': float(np.sum(rewards)), 'length': len(modes),
            'cost': float(total[0]) if len(total) else None,
            'raw_share': float((modes == Mode.RAW).mean()), 'version': version,
            'success': None if np.isnan(episode.success) else bool(episode.success),
            'multiplier': controllers[0].value if controllers else None})
