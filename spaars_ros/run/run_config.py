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

"""
Single declaration of the options of a run: command line, launch, conductor and resume use it.

The command line imports this module for every command, so that modules which read files are
imported inside the functions that need them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
import itertools
from pathlib import Path
import time
from typing import Any

from spaars_ros.run.options import KEPT
from spaars_ros.run.options import Option
from spaars_ros.run.options import option
from spaars_ros.run.options import options_of
from spaars_ros.run.options import PLACES
from spaars_ros.run.ros_names import checked_interface
from spaars_ros.run.ros_names import checked_namespace
from spaars_ros.run.ros_names import checked_topic

NOTHING_LEARNS = 'nothing learns there'
NO_POLICY = 'no policy acts there'
FLEET_FILE = 'the file of robots says it of each'
OF_RECORDINGS = 'of recordings only'
FILE_SAYS_IT = 'the training file says it'
ONE_START = 'of one start of the run, not of the run'
WITHOUT_LEARNER = 'record record.launch deploy.launch sim.launch'
LAUNCH = 'finetune.launch record.launch deploy.launch sim.launch fleet.launch conductor'


@dataclass(frozen=True)
class NodeOptions:
    """Options that the nodes need, too; a resumed run takes them from its folder."""

    robot: str = option(
        'panda', 'robot file: path, or name of a shipped file; default: that of the task, or '
        'panda', asked='', path='shipped', absent={FLEET_FILE: 'fleet.launch'})
    task: str = option('reach', 'task file: path, or name of a shipped file', path='shipped')
    sim: bool = option(True, 'start the simulated arm', differs={
        'deploy.launch': {'default': False}}, absent={
            FLEET_FILE: 'fleet.launch', 'it is what is launched': 'sim.launch'})
    real_time_factor: float = option(
        0.0, 'simulated s per s; 0: as fast as the nodes answer', low=0.0,
        differs={'record': {'default': 1.0, 'low': 0.01, 'high': 10.0},
                 'record.launch': {'default': 1.0, 'low': 0.01, 'high': 10.0},
                 'sim.launch': {'default': 1.0}})
    seed: int = option(
        0, 'seed of all random numbers', low=0, high=2**63 - 1,
        absent={FLEET_FILE: 'fleet.launch'})
    episodes: int = option(
        150, 'episodes of the whole run; 0: no end', low=0, anew=True,
        differs={'record': {'default': 0}, 'record.launch': {'default': 0},
                 'deploy.launch': {'default': 0}},
        absent={FLEET_FILE: 'fleet.launch', NO_POLICY: 'sim.launch'})
    joint_states: str = option(
        '', "topic of the robot's joint states; default: joint_states",
        absent={FLEET_FILE: 'fleet.launch'})
    command: str = option(
        '', "topic of the robot's controller; default: command",
        absent={FLEET_FILE: 'fleet.launch'})
    command_interface: str = option(
        '', 'interface of the controller: forward_velocity, forward_position or joint_trajectory; '
        'default: that of the robot file', absent={'the robot files say it': 'fleet.launch'})
    params_file: str = option(
        '', 'ROS 2 parameter file; its values override all others', path='data', anew=True)
    namespace: str = option(
        '', 'namespace of every node; two runs in one ROS domain need different ones', anew=True,
        absent={'the name of each robot': 'fleet.launch'})
    signing_key: str = option(
        '', 'private key (spaars keys generate) to sign every bundle of the run', path='data',
        absent={NOTHING_LEARNS: WITHOUT_LEARNER})
    public_key: str = option(
        '', 'public key; the policy server rejects bundles without its signature', path='data',
        absent={NO_POLICY: 'record record.launch sim.launch'})
    shared_learner: bool = option(
        False, 'one robot of a fleet: start no learner; that of the fleet learns from this '
        'namespace; needs a bundle', switch=True,
        absent={NOTHING_LEARNS: WITHOUT_LEARNER,
                'fleet.launch.py is for it': 'finetune.launch fleet.launch'})

    @property
    def remappings(self) -> tuple[tuple[str, str], ...]:
        """Return the remappings of joint_states and command to the topics of the robot."""
        return tuple((name, target) for name, target in (
            ('joint_states', self.joint_states), ('command', self.command)) if target)


@dataclass(frozen=True)
class RunConfig(NodeOptions):
    """Configuration of a run, stored as config.json so that the run can be resumed."""

    out: str = option('', 'run folder; default: runs/<date and time>', path='data', anew=True,
                      absent={'an arm alone keeps nothing': 'sim.launch'})
    training: str = option(
        'spaars', 'training file: path, or name of a shipped file; default: that of the '
        'algorithm, or of the task, or spaars', asked='', path='shipped',
        absent={NOTHING_LEARNS: WITHOUT_LEARNER})
    overrides: dict[str, Any] = option(
        dict, 'training constant that overrides the file; may be repeated', flags='--set',
        metavar='NAME=VALUE', absent={FILE_SAYS_IT: LAUNCH, NOTHING_LEARNS: 'record'})
    bundle: str = option(
        '', 'policy bundle to start from; default: pretrained from demonstrations', path='data',
        absent={NO_POLICY: 'record record.launch sim.launch'})
    demonstrations: str = option(
        '', 'HDF5 data set, or the folder of a run (spaars record); default: that of the training '
        'file', path='data', absent={NOTHING_LEARNS: WITHOUT_LEARNER})
    evaluation_episodes: int = option(
        50, 'fixed episodes of the evaluations before and after; on a robot: largest number of '
        'its first and of its last episodes that count', low=0,
        differs={place: {'low': 1} for place in ('finetune', 'finetune.launch', 'fleet.launch')},
        absent={NOTHING_LEARNS: WITHOUT_LEARNER})
    evaluate_in_sim: bool = option(
        False, 'on a robot: evaluate before and after in MuJoCo, with the model of the robot '
        "file, instead of by the robot's own first and last episodes", switch=True,
        absent={NOTHING_LEARNS: WITHOUT_LEARNER,
                'the policy of a fleet is measured on its robots': 'fleet.launch'})
    cache: str = option(
        'runs/pretrained', 'folder that stores pretrained bundles', path='data',
        absent={NOTHING_LEARNS: WITHOUT_LEARNER, 'a fleet begins with a bundle': 'fleet.launch'})


LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')


@dataclass(frozen=True)
class StartOptions:
    """Options of one start of a run, which are not stored."""

    resume: bool = option(
        False, 'continue the run in the run folder', switch=True, anew=True,
        absent={ONE_START: KEPT, 'nothing is kept to go on with': 'deploy.launch sim.launch',
                'each robot of a fleet goes on by itself': 'fleet.launch'})
    algorithm: str = option(
        '', 'algorithm: spaars, spaars-supe or spar; default: that of the training file',
        absent={FILE_SAYS_IT: LAUNCH, NOTHING_LEARNS: 'record', 'kept in overrides': KEPT})
    mode: str = option(
        '', 'mode: gated, or one of its ablations latent-only and raw-only',
        absent={FILE_SAYS_IT: LAUNCH, NOTHING_LEARNS: 'record', 'kept in overrides': KEPT})
    robots: int = option(
        1, 'number of simulated arms with one learner; each runs the number of episodes', low=1,
        high=100,
        absent={'fleet.launch.py takes a file of robots': LAUNCH, NOTHING_LEARNS: 'record',
                'a fleet is not resumed as one': KEPT})
    log_level: str = option('info', 'log level of the nodes', choices=LOG_LEVELS, anew=True,
                            absent={ONE_START: KEPT, 'launch gives it to each node': 'conductor'})
    use_sim_time: bool | None = option(
        None, 'take time from /clock; empty: yes if the arm is simulated', anew=True,
        absent={ONE_START: KEPT, 'where the arm is simulated': 'finetune record fleet.launch',
                'an arm makes the clock': 'sim.launch', 'the nodes have it': 'conductor'})
    autostart: bool = option(
        True, 'configure and activate the nodes; false: wait until somebody else does', anew=True,
        absent={ONE_START: KEPT, 'a command line activates its nodes': 'finetune record'})
    check: bool = option(
        True, 'on a robot: refuse an arm whose wiring has not passed spaars check', anew=True,
        absent={ONE_START: KEPT, 'it checks, and asks': 'finetune record',
                'no robot moves': 'sim.launch'})
    page: bool | None = option(
        None, "serve the operator's page on this machine (extra page); default: if it is "
        'installed and this is a terminal', anew=True,
        absent={ONE_START: KEPT,
                'spaars page shows what runs':
                'record record.launch deploy.launch sim.launch fleet.launch'})
    hand_guiding: bool = option(
        False, "a person guides the arm by hand in the robot's own free-drive; nothing is "
        'commanded', switch=True, anew=True,
        absent={ONE_START: KEPT,
                OF_RECORDINGS: 'finetune finetune.launch deploy.launch sim.launch fleet.launch'})
    put_back: str = option(
        '', 'what a person has to put back after each episode; the run waits until they report '
        'ready', anew=True,
        absent={ONE_START: KEPT,
                OF_RECORDINGS: 'finetune finetune.launch deploy.launch sim.launch fleet.launch'})
    yes: bool = option(
        False, 'on a robot: check the wiring if that has not been done, and move the arm home, '
        'without asking', switch=True, anew=True,
        absent={ONE_START: KEPT, 'a launch file cannot ask': LAUNCH})
    show: bool = option(
        True, 'live panel, or one line per episode', flags='--live/--plain', anew=True,
        absent={ONE_START: KEPT, 'a line per episode, always': f'record {LAUNCH}'})
    json: str = option('', 'also write the summary here', anew=True, absent={
        ONE_START: KEPT, 'summary.json in the run folder is it': LAUNCH})


OPTIONS: dict[str, Option] = options_of(RunConfig, StartOptions)
"""Name -> option, for all options of a run."""
OF_NODES = tuple(each.name for each in fields(NodeOptions))
OF_RUN = tuple(each.name for each in fields(RunConfig))
TASK: str = OPTIONS['task'].default


def options_in(place: str) -> list[Option]:
    """Return the options accepted in one of `PLACES`, as declared there; raises ValueError."""
    if place not in PLACES:
        raise ValueError(f'{place}: expected one of {", ".join(PLACES)}')
    return [each.at(place) for each in OPTIONS.values() if place not in each.absent]


def robot_of(robot: str, task: str) -> str:
    """Return the given robot file, else that of the task, else the default; raises ConfigError."""
    from spaars_ros.tasks.registry import load_task
    return robot or load_task(task).robot or NodeOptions.robot


def training_of(training: str, algorithm: str | None, task: str) -> str:
    """
    Return the given training file, else that of the algorithm, else that of the task, else spaars.

    An algorithm that robots do not run has no training file here; the run rejects it by name.

    :raises ConfigError: the task file cannot be used
    """
    from spaars_ros.tasks.registry import load_task
    from spaars_ros.training_file import ROBOT_ALGORITHMS
    return training or (algorithm if algorithm in ROBOT_ALGORITHMS else '') \
        or load_task(task).training or RunConfig.training


def new_run_folder() -> str:
    """Return a name for a new run folder with the current time; no such folder exists yet."""
    moment = time.strftime('runs/%Y%m%d-%H%M%S')
    more = (f'{moment}-{number}' for number in itertools.count(2))
    return next(name for name in itertools.chain([moment], more) if not Path(name).exists())


@dataclass(frozen=True)
class Asked:
    """Option values given in one place, completed with defaults."""

    values: Mapping[str, Any]
    """Option -> value for every option of the place; the default if none was given."""
    said: frozenset[str]
    """Names of the options that were given."""

    @property
    def start(self) -> StartOptions:
        """Return the options of this start only."""
        return StartOptions(**{each.name: self.values[each.name] for each in fields(StartOptions)
                               if each.name in self.values})

    def config(self, algorithm: str = '') -> RunConfig:
        """Return the configuration of a new run; raises ValueError, ConfigError."""
        given = {name: self.values[name] for name in OF_RUN if name in self.values}
        for name in given.keys() & {'params_file', 'signing_key', 'public_key'}:
            given[name] = as_everywhere(OPTIONS[name], given[name])
        for name in given.keys() & {'joint_states', 'command'}:
            checked_topic(name, given[name])
        task = given.get('task', TASK)
        return RunConfig(**{
            **given, 'robot': robot_of(given.get('robot', ''), task),
            'training': training_of(given.get('training', ''), algorithm, task),
            'namespace': checked_namespace(given.get('namespace', '')),
            'command_interface': checked_interface(given.get('command_interface', ''))})

    def anew(self) -> dict[str, Any]:
        """Return the new values for a resumed run, without its folder; raises ValueError."""
        found = {name: self.values[name] for name in OF_RUN
                 if name in self.said and OPTIONS[name].anew and name != 'out'}
        if 'namespace' in found:
            found['namespace'] = checked_namespace(found['namespace'])
        return {name: as_everywhere(OPTIONS[name], value) for name, value in found.items()
                if value != ''}


def as_everywhere(option: Option, value: Any) -> Any:
    """Return the absolute path for an option that is a file, any other value unchanged."""
    from spaars_ros.run.kept_files import anchor_path
    from spaars_ros.run.kept_files import anchored_data
    ways = {'': lambda same: same, 'shipped': anchor_path, 'data': anchored_data}
    return ways[option.path](value)


def kept_config(kept: Mapping[str, Any], where: str) -> RunConfig:
    """
    Return the configuration stored in a run's config.json, also in one of an older version.

    :param kept: options -> values
    :param where: name of the file, for the error
    :raises ValueError: an option is unknown or its value is not accepted
    """
    known = {each.name: each for each in options_in(KEPT)}
    values: dict[str, Any] = {}
    for name, value in kept.items():
        if name not in known:
            raise ValueError(f'{where}: options: {name}: no option of this version: continue '
                             'with the version that started the run')
        values[name] = known[name].checked(value, f'{where}: options: {name} is {value!r}')
    return RunConfig(**values)
