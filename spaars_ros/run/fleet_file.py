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

"""Fleet file: the list of robots that share a learner."""

from pydantic import Field

from spaars_ros.robot.files import load_model
from spaars_ros.robot.files import Strict
from spaars_ros.robot.resources import expanded
from spaars_ros.robot.strict_yaml import ConfigError

NAMESPACE = r'^[A-Za-z][A-Za-z0-9_]*$'


class FleetRobot(Strict):
    """One robot of a fleet."""

    name: str = Field(pattern=NAMESPACE, max_length=100, description='namespace of the robot')
    robot: str = Field(
        'panda', max_length=400, description='robot file; all robots of a fleet have the same '
        'joints, limits and rate, because one policy drives them')
    sim: bool = Field(True, description='whether the robot is simulated')
    joint_states: str = Field(
        '', max_length=400, description="topic of its joint states; '': joint_states in its "
        'namespace')
    command: str = Field(
        '', max_length=400, description="topic of its controller; '': command in its namespace")
    episodes: int = Field(
        150, ge=0, le=10_000_000, description='episodes that the robot runs, 0: no end')
    seed: int = Field(
        0, ge=0, le=2**31, description='seed of its goals, start poses and exploration')


class Fleet(Strict):
    """Content of a fleet file: the robots that share a learner."""

    robots: tuple[FleetRobot, ...] = Field(min_length=1, max_length=100)


def load_fleet(path: str) -> Fleet:
    """Load a fleet file; raises ConfigError."""
    file = expanded(path)
    if not file.is_file():
        raise ConfigError(f'fleet file {path!r}: no such file')
    fleet = load_model(Fleet, file)
    names = [robot.name for robot in fleet.robots]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f'{file}: robots: the name {name!r} is there twice')
    return fleet
