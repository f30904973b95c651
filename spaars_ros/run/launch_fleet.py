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
"""A fleet as ROS 2 launch actions; imported by the launch file only."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.actions import Shutdown
from launch.events.process import ProcessExited
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import new_run_folder
from spaars_ros.run.bringup import new_run_token
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.fleet import MEMBERS
from spaars_ros.run.fleet_file import FleetRobot
from spaars_ros.run.fleet_file import load_fleet
from spaars_ros.run.kept_files import anchored
from spaars_ros.run.kept_files import anchored_data
from spaars_ros.run.launch_graph import ARGUMENTS
from spaars_ros.run.launch_graph import conductor_node
from spaars_ros.run.launch_graph import lifecycle_node

TAKEN = ('task', 'training', 'params_file', 'log_level', 'out', 'bundle', 'demonstrations',
         'check', 'real_time_factor', 'autostart')
ROBOTS = 'YAML file with the robots: name, robot, sim, joint_states, command, episodes, seed'


class _Last:
    """Ends the launch when the last robot's conductor has ended."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self, event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
        self._left -= 1
        if self._left or context.is_shutdown:
            return []
        return [Shutdown(reason='every robot has ended')]


def fleet_description() -> LaunchDescription:
    """Return a launch description of several robots and the one learner of theirs."""
    def build(context: LaunchContext) -> list[Any]:
        values = {name: LaunchConfiguration(name).perform(context) for name in (*TAKEN, 'robots')}
        if not values['bundle']:
            raise ValueError('bundle:= is missing: the policy bundle that every robot of the '
                             'fleet begins with (spaars pretrain makes one)')
        fleet = load_fleet(values['robots'])
        out = Path(anchored_data(values['out'] or new_run_folder()))
        shared = RunSettings(
            out=str(out), robot=anchored(fleet.robots[0].robot), task=anchored(values['task']),
            bundle=anchored_data(values['bundle']), demonstrations=values['demonstrations'],
            params_file=values['params_file'], log_level=values['log_level'],
            sim=all(robot.sim for robot in fleet.robots), run=new_run_token(str(out)),
            robots=','.join(robot.name for robot in fleet.robots), training_file=anchored(
                values['training']))
        learner = [node for node in describe(shared) if node.name == 'learner']
        last = _Last(len(fleet.robots))
        return [*(lifecycle_node(node, shared) for node in learner),
                conductor_node('hold', shared, values, ['learner']),
                *(action for robot in fleet.robots
                  for action in _robot(robot, shared, values, last))]

    declared = [DeclareLaunchArgument(name, description=ARGUMENTS[name][1],
                                      default_value=ARGUMENTS[name][0]) for name in TAKEN]
    return LaunchDescription([DeclareLaunchArgument('robots', description=ROBOTS), *declared,
                              OpaqueFunction(function=build)])


def _robot(robot: FleetRobot, shared: RunSettings, values: dict[str, str],
           last: Callable[..., Any]) -> list[Node]:
    """Return the nodes and the conductor of one robot; what ends it ends no other."""
    out = str(Path(shared.out) / MEMBERS / robot.name)
    settings = replace(
        shared, out=out, robot=anchored(robot.robot), namespace=robot.name, sim=robot.sim,
        joint_states=robot.joint_states, command=robot.command, episodes=robot.episodes,
        seed=robot.seed, robots='', shared_learner=True, explore=True, bundle='',
        real_time_factor=float(values['real_time_factor']), run=new_run_token(out))
    graph = describe(settings)
    given = {**values, 'bundle': shared.bundle}
    return [*(lifecycle_node(node, settings, alone=False) for node in graph),
            conductor_node('finetune', settings, given, [node.name for node in graph],
                           on_exit=last)]
