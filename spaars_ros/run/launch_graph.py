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

"""The node graph of `bringup` as ROS 2 launch actions; imported by the launch files only."""

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
from spaars_ros.run.bringup import new_run_folder
from spaars_ros.run.bringup import new_run_token
from spaars_ros.run.bringup import NodeDescription
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.bringup import started_by_this
from spaars_ros.run.kept_files import anchored
from spaars_ros.run.kept_files import anchored_data
from spaars_ros.run.page.start import wanted
from spaars_ros.run.params_file import check_params_file
from spaars_ros.run.record_graph import record_graph
from spaars_ros.run.robot_options import KEYS
from spaars_ros.run.robot_options import TEXTS

ARGUMENTS: dict[str, tuple[str, str]] = {
    'sim': ('true', 'start the simulated arm; false on a robot'),
    'robot': ('panda', 'robot file: a path, or a name from config/robot'),
    'task': ('reach', 'task file: a path, or a name from config/task'),
    'training': ('spaars', 'training file: a path, or a name from config/training'),
    'use_sim_time': ('', 'take time from /clock; empty: as sim'),
    'log_level': ('info', 'debug, info, warn, error or fatal'),
    'autostart': ('true', 'configure and activate the nodes; false waits until somebody does'),
    'evaluate_in_sim': ('false', 'with sim:=false, evaluate before and after in MuJoCo; else the '
                                 "run's first and last episodes count"),
    'check': ('true', 'with sim:=false, refuse an arm whose wiring spaars check has not passed'),
    'out': ('', 'run folder; empty: runs/<date and time>'),
    'resume': ('false', 'continue the run that is in out, with its own settings'),
    'episodes': ('', "episodes of the run, 0 for no end; empty: 150, or a resumed run's own"),
    'seed': ('0', 'seed of goals, start poses, exploration and learning'),
    'real_time_factor': ('0.0', 'simulated s a second; 0 is as fast as the nodes answer'),
    'bundle': ('', 'policy bundle to start from'),
    'demonstrations': ('', 'HDF5 file or folder of a run; empty: those that '
                           'ship with the package'),
    **{name: ('', text) for name, text in TEXTS.items()},
    'page': ('', "true serves the operator's page on this machine; empty: where its extra is "
             'installed and this is a terminal'),
}
OF_RECORDINGS: dict[str, tuple[str, str]] = {
    'hand_guiding': ('false', 'the arm is led by hand, and nothing is commanded'),
    'put_back': ('', 'what a person puts back after each episode, and says ready; empty: nothing'),
}
"""Arguments of record.launch.py beside those."""

GRAPH_WIDE = ('robot', 'task', 'out', 'params_file', 'log_level', 'bundle', 'demonstrations',
              'command_interface', 'joint_states', 'command', *KEYS)


def _truth(name: str, text: str) -> bool:
    values = {'true': True, '1': True, 'false': False, '0': False}
    if text.lower() not in values:
        raise ValueError(f'launch argument {name}:={text}: expected true or false')
    return values[text.lower()]


def settings_from(values: dict[str, str]) -> RunSettings:
    """Return the run settings of launch arguments; raises ValueError naming a wrong one."""
    kept: dict[str, Any] = {name: values[name] for name in GRAPH_WIDE if name in values}
    for name, kind in (('episodes', int), ('seed', int), ('real_time_factor', float)):
        if values.get(name):
            try:
                kept[name] = kind(values[name])
            except ValueError:
                raise ValueError(f'launch argument {name}:={values[name]}: expected '
                                 f'{kind.__name__}') from None
    kept['out'] = anchored_data(kept.get('out') or new_run_folder())
    for name, whole in (('bundle', anchored_data), ('params_file', anchored_data),
                        ('demonstrations', anchored_data), ('robot', anchored),
                        ('task', anchored), ('training', anchored),
                        *((name, anchored_data) for name in KEYS)):
        if values.get(name) and name in kept:
            kept[name] = whole(values[name])
    kept['namespace'] = values.get('namespace', '').strip('/')
    kept['sim'] = _truth('sim', values.get('sim', 'true'))
    if values.get('use_sim_time'):
        kept['use_sim_time'] = _truth('use_sim_time', values['use_sim_time'])
    return RunSettings(**kept)


def _end(reason: str) -> Callable[[ProcessExited, LaunchContext], list[Shutdown]]:
    """Return an on_exit that ends the launch once: launch_ros fails on a second Shutdown."""
    return lambda event, context: [] if context.is_shutdown else [Shutdown(reason=reason)]


def lifecycle_node(node: NodeDescription, settings: RunSettings, *, alone: bool = True
                   ) -> LifecycleNode:
    """Return the launch action of one node; where it is not alone, its end ends no launch."""
    parameters: list[Any] = [node.parameters]
    if settings.params_file:
        parameters.append(settings.params_file)
    return LifecycleNode(
        package='spaars_ros', executable=node.executable, name=node.name,
        namespace=settings.namespace, parameters=parameters,
        remappings=list(node.remappings), output='screen', emulate_tty=True,
        respawn=node.respawn, respawn_delay=1.0, additional_env=started_by_this(),
        # A SIGINT to launch alone reaches no node: launch takes it for a terminal's, which all
        # get. SIGTERM does, and a node that is ending already takes it for the same wish.
        sigterm_timeout='1', sigkill_timeout='20',
        on_exit=None if node.respawn or not alone else _end(f'{node.name} ended'),
        arguments=['--ros-args', '--log-level', settings.log_level,
                   *enclave_arguments(node.name)])


def conductor_node(job: str, settings: RunSettings, values: dict[str, str],
                   names: list[str], on_exit: Callable[..., Any] | None = None) -> Node:
    """Return the conductor's action; when it exits, the launch shuts down, or does `on_exit`."""
    arguments = [job, '--nodes', ','.join(names), '--out', settings.out,
                 '--robot', settings.robot, '--task', settings.task,
                 '--seed', str(settings.seed), '--episodes', str(settings.episodes),
                 '--namespace', settings.namespace, '--real-time-factor',
                 str(settings.real_time_factor), '--joint-states', settings.joint_states,
                 '--command', settings.command,
                 '--command-interface', settings.command_interface,
                 '--params-file', settings.params_file, '--run', settings.run,
                 '--signing-key', settings.signing_key, '--public-key', settings.public_key,
                 '--sim' if settings.sim else '--no-sim',
                 '--autostart' if _truth('autostart', values['autostart']) else '--no-autostart']
    if not _truth('check', values.get('check', 'true')):
        arguments.append('--no-check')
    for name in ('resume', 'evaluate_in_sim', 'hand_guiding'):
        if _truth(name, values.get(name, 'false')):
            arguments.append(f'--{name.replace("_", "-")}')
    if settings.shared_learner:
        arguments.append('--shared-learner')
    text = values.get('page', 'false')
    if wanted(_truth('page', text) if text else None):
        arguments.append('--page')
    for name in ('training', 'bundle', 'demonstrations', 'put_back'):
        if values.get(name):
            arguments += [f'--{name.replace("_", "-")}', values[name]]
    return Node(package='spaars_ros', executable='conductor', name='conductor',
                namespace=settings.namespace, arguments=arguments, output='screen',
                additional_env=started_by_this(), emulate_tty=True, respawn=False,
                sigterm_timeout='1', sigkill_timeout='60',
                on_exit=on_exit or _end('the conductor ended'))


def launch_description(job: str, arguments: list[str], *, learner: bool = True,
                       policy: bool = True, **defaults: str) -> LaunchDescription:
    """
    Return a launch description of the graph.

    :param job: the conductor's: finetune, record, or hold to keep the nodes active
    :param arguments: names from `ARGUMENTS` and `OF_RECORDINGS` that the launch file takes
    :param defaults: default values that differ from those in `ARGUMENTS`
    """
    def build(context: LaunchContext) -> list[Any]:
        values = {name: LaunchConfiguration(name).perform(context) for name in arguments}
        settings = settings_from(values)
        settings = replace(settings, explore=learner, run=new_run_token(settings.out))
        if job in ('finetune', 'record'):
            # The conductor puts the bundle to start from there before it configures the nodes.
            settings = replace(settings, bundle='')
        folder = None
        if _truth('resume', values.get('resume', 'false')):
            from spaars_ros.run.continuation import continued
            from spaars_ros.run.continuation import from_newest_bundle
            from spaars_ros.run.continuation import launched_again
            folder = launched_again(
                values, {name: default for name, (default, _) in ARGUMENTS.items()})
            settings = continued(settings, folder)
        if settings.params_file:
            constraints = [each.name for each in load_robot(settings.robot).constraints]
            check_params_file(settings.params_file, settings.namespace, constraints)
        graph = describe(settings, learner=learner, policy=policy) if job != 'record' else \
            record_graph(settings, guide=_truth('hand_guiding', values['hand_guiding']),
                         put_back=values['put_back'])
        if folder is not None:
            from_newest_bundle(graph, folder)
        return [*(lifecycle_node(node, settings) for node in graph),
                conductor_node(job, settings, values, [node.name for node in graph])]

    known = {**ARGUMENTS, **OF_RECORDINGS}
    declared = [DeclareLaunchArgument(name, description=known[name][1],
                                      default_value=defaults.get(name, known[name][0]))
                for name in arguments]
    return LaunchDescription([*declared, OpaqueFunction(function=build)])
