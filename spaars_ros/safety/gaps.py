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

"""Lower bounds of a robot's distances, which are measured only where one may become small."""

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.safety.distances import distances
from spaars_ros.safety.world import World


class Gaps:
    """
    Lower bounds of all distances of a robot at one place, by the last measurement and the levers.

    Joint j changes a distance by at most levers_j per rad, so a distance that was measured before
    stays valid, less the bound of what the joints have moved since.

    :param robot: the robot file
    :raises ConfigError: model and robot file do not fit, or links touch at home
    """

    def __init__(self, robot: Robot) -> None:
        self.world = World(robot)
        self.distances = distances(robot, self.world)
        count, d = len(self.distances), len(robot.joints)
        self.levers = np.array([one.levers for one in self.distances]).reshape(-1, d)
        """(m, d) m/rad."""
        self.sides = np.array([one.sides for one in self.distances]).reshape(-1, d)
        self.tip_levers = self.world.levers(self.world.tip_body, self.world.tip_radius)
        """(d,) m/rad."""
        self.least = np.full(count, -np.inf)
        """(m,) m, lower bounds at `seen`."""
        self.seen = np.asarray(robot.home, dtype=np.float64)
        self.exact = np.zeros(count, dtype=bool)
        """(m,) whether each bound is the distance itself."""
        self.covered = np.zeros(count, dtype=bool)
        """(m,) whether rows hold for each distance, from wherever the arm obeys."""
        self.moved_to: Array | None = None
        """(d,) rad, where the world is."""
        self.evaluations = 0

    def come_to(self, position: Array) -> None:
        """Have the bounds at other joint positions (d,) rad."""
        self.least -= self.levers @ np.abs(position - self.seen)
        self.exact[:] = self.covered[:] = False
        self.seen = position

    def move(self, position: Array) -> None:
        """Move the world to joint positions (d,) rad."""
        self.world.move(position)
        self.moved_to = position

    def measure(self, index: int) -> None:
        """Measure a distance where the world is, which has to be at `seen`."""
        self.evaluations += 1
        self.least[index] = self.distances[index].measure()
        self.exact[index] = True
