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

"""ROS 2 launch actions of the node graph of `bringup`; imported by the launch files only."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.actions import Shutdown
from launch.events.process import ProcessExited
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.actions import Node

from spaars_ros.robot.config import load_robot
from spaars_ros.ros.security import enclave_arguments
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import new_run_token
from spaars_ros.run.bringup import NodeDescription
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.bringup import started_by_this
from spaars_ros.run.continuation import continue_run
from spaars_ros.run.continuation import from_newest_bundle
from spaars_ros.run.continuation import launched_again
from spaars_ros.run.kept_files import anchored_data
from spaars_ros.run.option_words import ConductorCall
from spaars_ros.run.option_words import launch_default
from spaars_ros.run.option_words import launch_help
from spaars_ros.run.option_words import read_launch
from spaars_ros.run.page.start import is_wanted
from spaars_ros.run.params_file import check_params_file
from spaars_ros.run.record_graph import record_graph
from spaars_ros.run.run_config import Asked
from spaars_ros.run.run_config import new_run_folder
from spaars_ros.run.run_config import OF_NODES
from spaars_ros.run.run_config import options_in
from spaars_ros.run.run_config import RunConfig
from spaars_ros.run.run_config import StartOptions


def _end(reason: str) -> Callable[[ProcessExited, LaunchContext], list[Shutdown]]:
    """Return an on_exit handler that shuts down once: launch_ros fails on a second Shutdown."""
    return lambda event, context: [] if context.is_shutdown else [Shutdown(reason=reason)]


def lifecycle_node(node: NodeDescription, settings: RunSettings, *, alone: bool = True
                   ) -> LifecycleNode:
    """
    Return the launch action of one node.

    :param alone: whether the exit of a node that does not respawn shuts the launch down
    """
    parameters: list[Any] = [node.parameters]
    if settings.params_file:
        parameters.append(settings.params_file)
    return LifecycleNode(
        package='spaars_ros', executable=node.executable, name=node.name,
        namespace=settings.namespace, parameters=parameters,
        remappings=list(node.remappings), output='screen', emulate_tty=True,
        respawn=node.respawn, respawn_delay=1.0, additional_env=started_by_this(),
        # launch does not forward SIGINT, because a terminal sends it to all processes. It does
        # send SIGTERM after this time; a node that is already ending takes both as one request.
        sigterm_timeout='1', sigkill_timeout='20',
        on_exit=None if node.respawn or not alone else _end(f'{node.name} ended'),
        arguments=['--ros-args', '--log-level', settings.log_level,
                   *enclave_arguments(node.name)])


def conductor_node(job: str, config: RunConfig, start: StartOptions, run: str,
                   names: list[str], on_exit: Callable[..., Any] | None = None) -> Node:
    """Return the conductor's action; on its exit the launch shuts down, or calls `on_exit`."""
    call = ConductorCall.of(job, names, run, config, start)
    return Node(package='spaars_ros', executable='conductor', name='conductor',
                namespace=config.namespace, arguments=call.words, output='screen',
                additional_env=started_by_this(), emulate_tty=True, respawn=False,
                sigterm_timeout='1', sigkill_timeout='60',
                on_exit=on_exit or _end('the conductor ended'))


def declare_arguments(place: str) -> list[DeclareLaunchArgument]:
    """Return the argument declarations of a launch file."""
    return [DeclareLaunchArgument(option.name, description=launch_help(option, place),
                                  default_value=launch_default(option, place))
            for option in options_in(place)]


def asked_of(place: str, context: LaunchContext) -> Asked:
    """Return the parsed arguments of a launch file; raises ValueError that names a wrong one."""
    return read_launch(place, {option.name: LaunchConfiguration(option.name).perform(context)
                               for option in options_in(place)})


def launch_description(job: str, place: str, *, learner: bool = True,
                       policy: bool = True) -> LaunchDescription:
    """
    Return a launch description of the graph.

    :param job: job of the conductor: finetune, record, or hold to keep the nodes active
    :param place: entry of `LAUNCHES`, which determines the launch arguments
    :param learner: start the learner and explore
    :param policy: start policy server, cost monitor and encoder
    """
    def build(context: LaunchContext) -> list[Any]:
        asked = asked_of(place, context)
        start, folder = asked.start, None
        if start.resume:
            folder = launched_again(asked)
            config = replace(folder.options, **asked.anew(), command_interface=(
                asked.values['command_interface'] or folder.options.command_interface))
        else:
            config = asked.config()
            config = replace(config, out=config.out or anchored_data(new_run_folder()))
        # '': the initial bundle in the run folder, which the conductor writes before it configures
        # the nodes.
        settings = RunSettings.of(
            config, explore=learner, run=new_run_token(config.out), log_level=start.log_level,
            use_sim_time=start.use_sim_time, bundle=config.bundle if job == 'hold' else '')
        if folder is not None:
            settings = continue_run(replace(settings, demonstrations=''), folder)
            config = replace(config, **{name: getattr(settings, name) for name in OF_NODES})
        if settings.params_file:
            constraints = [each.name for each in load_robot(settings.robot).constraints]
            check_params_file(settings.params_file, settings.namespace, constraints)
        graph = describe(settings, learner=learner, policy=policy) if job != 'record' else \
            record_graph(settings, guide=start.hand_guiding, put_back=start.put_back)
        if folder is not None:
            from_newest_bundle(graph, folder)
        if place == 'finetune.launch':
            start = replace(start, page=is_wanted(start.page))
        return [*(lifecycle_node(node, settings) for node in graph),
                conductor_node(job, config, start, settings.run, [node.name for node in graph])]

    return LaunchDescription([*declare_arguments(place), OpaqueFunction(function=build)])
