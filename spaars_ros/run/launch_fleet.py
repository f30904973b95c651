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
"""ROS 2 launch actions of a fleet; imported by the launch file only."""

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
from spaars_ros.run.bringup import new_run_token
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.fleet import MEMBERS
from spaars_ros.run.fleet_file import FleetRobot
from spaars_ros.run.fleet_file import load_fleet
from spaars_ros.run.kept_files import anchor_path
from spaars_ros.run.kept_files import anchored_data
from spaars_ros.run.launch_graph import asked_of
from spaars_ros.run.launch_graph import conductor_node
from spaars_ros.run.launch_graph import declare_arguments
from spaars_ros.run.launch_graph import lifecycle_node
from spaars_ros.run.run_config import new_run_folder
from spaars_ros.run.run_config import RunConfig
from spaars_ros.run.run_config import StartOptions

PLACE = 'fleet.launch'
ROBOTS = 'YAML file with the robots: name, robot, sim, joint_states, command, episodes, seed'


class _Last:
    """Exit handler that shuts the launch down after the last robot's conductor has exited."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self, event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
        self._left -= 1
        if self._left or context.is_shutdown:
            return []
        return [Shutdown(reason='every robot has ended')]


def fleet_description() -> LaunchDescription:
    """Return a launch description of several robots and their shared learner."""
    def build(context: LaunchContext) -> list[Any]:
        asked = asked_of(PLACE, context)
        if not asked.values['bundle']:
            raise ValueError('bundle:= is missing: the policy bundle that every robot of the '
                             'fleet begins with (spaars pretrain makes one)')
        fleet = load_fleet(LaunchConfiguration('robots').perform(context))
        config = asked.config()
        config = replace(
            config, out=config.out or anchored_data(new_run_folder()),
            robot=anchor_path(fleet.robots[0].robot), sim=all(robot.sim for robot in fleet.robots))
        shared = RunSettings.of(
            config, log_level=asked.start.log_level, run=new_run_token(config.out),
            robots=','.join(robot.name for robot in fleet.robots), training_file=config.training)
        learner = [node for node in describe(shared) if node.name == 'learner']
        last = _Last(len(fleet.robots))
        return [*(lifecycle_node(node, shared) for node in learner),
                conductor_node('hold', config, asked.start, shared.run, ['learner']),
                *(action for robot in fleet.robots
                  for action in _robot(robot, config, asked.start, last))]

    return LaunchDescription([DeclareLaunchArgument('robots', description=ROBOTS),
                              *declare_arguments(PLACE), OpaqueFunction(function=build)])


def _robot(robot: FleetRobot, shared: RunConfig, start: StartOptions,
           last: Callable[..., Any]) -> list[Node]:
    """Return the nodes and the conductor of one robot; its end stops no other robot."""
    config = replace(
        shared, out=str(Path(shared.out) / MEMBERS / robot.name), robot=anchor_path(robot.robot),
        namespace=robot.name, sim=robot.sim, joint_states=robot.joint_states,
        command=robot.command, episodes=robot.episodes, seed=robot.seed, shared_learner=True)
    settings = RunSettings.of(config, bundle='', log_level=start.log_level,
                              run=new_run_token(config.out))
    graph = describe(settings)
    return [*(lifecycle_node(node, settings, alone=False) for node in graph),
            conductor_node('finetune', config, start, settings.run,
                           [node.name for node in graph], on_exit=last)]
