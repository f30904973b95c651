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
"""Checkpoint of a training run: everything that a resume needs, written between episodes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.constraints.lagrangian import AdaptivePID
from spaars_ros.learning.core.algorithm import Algorithm
from spaars_ros.learning.core.averaged import AveragedWeights
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.gym.evaluations import Evaluations
from spaars_ros.learning.gym.online_updates import OnlineUpdates
from spaars_ros.learning.gym.progress import Progress
from spaars_ros.learning.gym.training_folder import TrainingFolder
from spaars_ros.learning.gym.versions import Versions
from spaars_ros.training_file import Training

AVERAGE = 'average'


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a training run that have a state, saved and restored together."""

    folder: TrainingFolder
    env_id: str
    seed: int
    data: str
    """Digest of the offline data; see `load_data.digest_of`."""
    training: Training
    progress: Progress
    algorithm: Algorithm
    replay: Replay
    versions: Versions
    average: AveragedWeights
    evaluations: Evaluations
    updates: OnlineUpdates
    controllers: list[AdaptivePID]
    rng: np.random.Generator

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            'training': self.training.model_dump(), 'env': self.env_id, 'seed': self.seed,
            'data': self.data, **self.progress.state(self.updates.done),
            'curve': self.evaluations.curve, 'rng': dict(self.rng.bit_generator.state),
            'algorithm': self.algorithm.state(), 'versions': self.versions.state(),
            'controllers': [controller.state_dict() for controller in self.controllers]}
        arrays = {f'{part}/{name}': array for part, of in (
            ('algorithm', self.algorithm), ('replay', self.replay), ('versions', self.versions))
            for name, array in of.arrays().items()}
        arrays['torch'] = torch.get_rng_state().numpy()
        if self.training.weight_average:
            arrays[AVERAGE] = np.frombuffer(self.average.to_bytes(), dtype=np.uint8)
        self.folder.save(state, arrays)

    def restore(self) -> None:
        """Continue from `save()`; raise ValueError if the checkpoint is of another run."""
        state, arrays = self.folder.load(
            self.env_id, self.seed, self.data, self.training,
            [controller.limit for controller in self.controllers])
        self.updates.done = self.progress.restore(state)
        self.evaluations.curve = state['curve']
        if self.progress.online_begun:
            self.algorithm.begin_online()
        self.algorithm.load_arrays(_under('algorithm/', arrays))
        self.algorithm.load_state(state['algorithm'])
        self.replay.load_arrays(_under('replay/', arrays))
        for controller, content in zip(self.controllers, state['controllers']):
            controller.load_state_dict(content)
        self.rng.bit_generator.state = state['rng']
        torch.set_rng_state(torch.from_numpy(arrays['torch'].copy()))
        self.versions.restore(state.get('versions'), _under('versions/', arrays))
        if AVERAGE in arrays:
            self.average.load(arrays[AVERAGE].tobytes())


def _under(prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names begin with `prefix`, without that prefix."""
    return {name[len(prefix):]: array for name, array in arrays.items()
            if name.startswith(prefix)}
