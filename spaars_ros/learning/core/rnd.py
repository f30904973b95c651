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

"""Random network distillation and the plateau that ends the latent phase."""

import torch
from torch import Tensor

from spaars_ros.learning.core.networks import MLP


class RND(torch.nn.Module):
    """Random network distillation: a predictor learns the outputs of a frozen random network."""

    def __init__(self, observation: int, width: int = 128, features: int = 64) -> None:
        super().__init__()
        self.target = MLP(observation, features, width)
        self.predictor = MLP(observation, features, width)
        self.target.requires_grad_(False)

    def novelty(self, observation: Tensor) -> Tensor:
        """Return the novelty (B), the mean square prediction error, of normalised (B, n)."""
        return (self.predictor(observation) - self.target(observation)).square().mean(-1)


class Plateau:
    """
    Plateau of novelty, the condition for the phase switch: novelty has stopped falling.

    The mean novelty per window of fresh states (before the predictor is trained on them) is
    compared with the previous window. It has to change by less than `tolerance`, relative, in
    `windows` consecutive windows. docs/concepts/spaars.md (reconstructed).

    :param window: environment steps per window
    :param tolerance: relative change, > 0
    :param windows: number of consecutive windows
    """

    def __init__(self, window: int, tolerance: float, windows: int) -> None:
        self.window = window
        self.tolerance = tolerance
        self.windows = windows
        self._values: list[float] = []
        self._previous: float | None = None
        self._calm = 0

    def add(self, novelty: float) -> None:
        """Add the novelty of one fresh environment step."""
        self._values.append(novelty)
        if len(self._values) < self.window:
            return
        mean = sum(self._values) / len(self._values)
        self._values.clear()
        if self._previous is not None:
            change = abs(mean - self._previous) / max(self._previous, 1e-12)
            self._calm = self._calm + 1 if change < self.tolerance else 0
        self._previous = mean

    @property
    def reached(self) -> bool:
        """Return whether the plateau is reached."""
        return self._calm >= self.windows

    def state(self) -> dict[str, object]:
        """Return the state for `restore`."""
        return {'values': list(self._values), 'previous': self._previous, 'calm': self._calm}

    def restore(self, state: dict[str, object]) -> None:
        """Continue from `state()`."""
        self._values = [float(v) for v in state['values']]  # type: ignore[attr-defined]
        previous = state['previous']
        self._previous = None if previous is None else float(previous)  # type: ignore[arg-type]
        self._calm = int(state['calm'])  # type: ignore[call-overload]
