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

"""Start poses of episodes."""

import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import Robot

Array = NDArray[np.float64]


def sample_start(robot: Robot, noise: float, rng: np.random.Generator) -> Array:
    """Return a start (d,) rad, uniform within +-noise of home, inside the position limits."""
    low, high = np.asarray(robot.limits.position).T
    offset = rng.uniform(-1.0, 1.0, len(robot.joints)) * noise
    return np.clip(np.asarray(robot.home) + offset, low, high)
