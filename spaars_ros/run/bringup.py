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

"""Node graph of a run: nodes, their parameters, and their processes without ros2 launch."""

from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
import os
from pathlib import Path
import secrets
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from spaars_ros.interrupts import begin_as_child
from spaars_ros.interrupts import die_with_parent
from spaars_ros.interrupts import STARTED_BY
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.security import enclave_arguments
from spaars_ros.run.node_parameters import write_node_parameters
from spaars_ros.run.run_config import NodeOptions
from spaars_ros.run.run_config import RunConfig
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import cameras_of

LAST_LINES = 3
"""Lines of a node's log that an error shows."""
START = Path(__file__).resolve().parent.parent / 'nodes' / 'start.py'
"""Script that runs a node without the working directory on Python's path."""


def new_run_token(out: str) -> str:
    """Return a unique token for one start of a run in `out`; it names process and host."""
    return (f'{Path(out).resolve()}, started by process {os.getpid()} on {socket.gethostname()}, '
            f'{secrets.token_hex(4)}')


def started_by_this() -> dict[str, str]:
    """Return the environment variable that tells a run's processes which process started them."""
    return {STARTED_BY: str(os.getpid())}


@dataclass(frozen=True)
class RunSettings(NodeOptions):
    """Settings with which the nodes of a run are started."""

    out: str = 'runs/latest'
    """Run folder; the run writes all its files there."""
    explore: bool = True
    demonstrations: str = ''
    """HDF5 file; '': the set that ships with the package."""
    use_sim_time: bool | None = None
    """None: same as `sim`."""
    log_level: str = 'info'
    bundle: str = ''
    """Policy bundle that the nodes load; '': `initial.spaars` in the run folder."""
    start_stamp: float = 1.0
    """s; simulated time of the first joint_states, later than all records of a resumed run."""
    first_reset: int = 0
    """Number of start poses that a resumed run has already used."""
    training_file: str = ''
    """'': training.yaml in the run folder."""
    robots: str = ''
    """Namespaces of the robots that the learner learns from, comma-separated; '': `namespace`."""
    page: bool = False
    """Whether to serve the operator's page next to the nodes."""
    run: str = ''
    """Token of this start (`new_run_token`); the conductor controls only nodes that carry it."""

    @classmethod
    def of(cls, config: RunConfig, **more: Any) -> 'RunSettings':
        """Return the node settings of a new run; `more` replaces or adds fields."""
        names = {each.name for each in fields(cls)} & {each.name for each in fields(config)}
        return cls(**{**{name: getattr(config, name) for name in names}, **more})

    @property
    def training(self) -> str:
        """Return the training file that the learner reads; the conductor writes it."""
        return self.training_file or str(Path(self.out) / 'training.yaml')

    @property
    def initial_bundle(self) -> str:
        """Return the bundle that the nodes load on configure."""
        return self.bundle or str(Path(self.out) / 'initial.spaars')

    @property
    def clock(self) -> tuple[tuple[str, str], ...]:
        """Return the remapping that gives a simulated arm in a namespace its own clock topic."""
        space = self.namespace.strip('/')
        return (('/clock', f'/{space}/clock'),) if self.sim and space else ()

    @property
    def sim_time(self) -> bool:
        """Return whether the nodes use simulated time from /clock."""
        return self.sim if self.use_sim_time is None else self.use_sim_time


@dataclass(frozen=True)
class NodeDescription:
    """One node of the graph: its executable and the parameters to start it with."""

    name: str
    executable: str
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    respawn: bool = False

    @property
    def module(self) -> str:
        """Return the Python module of the executable."""
        return f'spaars_ros.nodes.{self.executable}.node'

    @property
    def command(self) -> list[str]:
        """Return the command that runs the executable, without ROS arguments."""
        return [sys.executable, str(START), self.module]


def describe(settings: RunSettings, *, learner: bool = True,
             policy: bool = True) -> list[NodeDescription]:
    """
    Return the node graph in order of activation; the policy server, which moves the arm, is last.

    :param learner: False: no learner, so that the policy stays frozen
    :param policy: False: no policy server, cost monitor or encoder
    """
    common = {'robot': settings.robot, 'task': settings.task, 'use_sim_time': settings.sim_time,
              'run': settings.run}
    interface = {'command_interface': settings.command_interface}
    graph = []
    if settings.sim:
        graph.append(NodeDescription('sim', 'sim', {
            **common, **interface, 'use_sim_time': False, 'seed': settings.seed,
            'real_time_factor': float(settings.real_time_factor),
            'start_stamp': float(settings.start_stamp), 'first_reset': settings.first_reset},
            settings.remappings))
    if learner and not settings.shared_learner:
        # Respawning loses no data: it recovers its store and fetches the steps that it missed.
        graph.append(NodeDescription('learner', 'learner', {
            **common, 'training': settings.training, 'bundle': settings.initial_bundle,
            'run_dir': settings.out, 'seed': settings.seed, 'robots': settings.robots,
            'demonstrations': settings.demonstrations, 'signing_key': settings.signing_key},
            respawn=True))
    if policy and _has_cameras(settings):
        graph.append(NodeDescription('encoder', 'encoder',
                                     {**common, 'run_dir': settings.out}))
    if policy:
        graph.append(NodeDescription('cost_monitor', 'cost_monitor',
                                     {**common, 'run_dir': settings.out}))
        graph.append(NodeDescription('policy_server', 'policy_server', {
            **common, **interface, 'bundle': settings.initial_bundle, 'run_dir': settings.out,
            'seed': settings.seed, 'explore': settings.explore, 'episodes': settings.episodes,
            'public_key': settings.public_key, 'accept_bundles': learner,
            'trigger': 'joint_states' if settings.sim else 'timer',
            'reset_service': 'sim/reset' if settings.sim else ''}, settings.remappings))
    return [replace(node, remappings=(*node.remappings, *settings.clock)) for node in graph]


def _has_cameras(settings: RunSettings) -> bool:
    """Return whether the task has cameras; the nodes report a file that cannot be read."""
    try:
        return bool(cameras_of(make_task(load_robot(settings.robot), load_task(settings.task))))
    except ConfigError:
        return False


class Processes:
    """
    Child processes of the nodes, each the leader of a separate process group.

    Their output goes to `<out>/log/<node>.log`. `poll` restarts a crashed process if its node
    respawns.
    """

    def __init__(self, settings: RunSettings, graph: list[NodeDescription]) -> None:
        """Only store the description; `start` starts the processes."""
        self._settings = settings
        self._graph = {node.name: node for node in graph}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self.log_directory = Path(settings.out) / 'log'

    def start(self) -> None:
        """Start every node; raises OSError when the run folder cannot be written."""
        self.log_directory.mkdir(parents=True, exist_ok=True)
        for name in self._graph:
            self.log_path(name).write_bytes(b'')
            self._spawn(name)

    def _spawn(self, name: str) -> None:
        node = self._graph[name]
        settings = self._settings
        file = self.log_directory / f'{name}.parameters.yaml'
        write_node_parameters(file, node.parameters)
        command = [*node.command, '--ros-args', '-r', f'__node:={name}',
                   '--params-file', str(file), '--log-level', settings.log_level,
                   *enclave_arguments(name)]
        if settings.namespace:
            command += ['-r', f'__ns:=/{settings.namespace.strip("/")}']
        for source, target in node.remappings:
            command += ['-r', f'{source}:={target}']
        if settings.params_file:
            command += ['--params-file', settings.params_file]
        own = str(START) in command  # this script itself decides when signals may be handled
        # Append, so that the log after a respawn follows the log of the crash.
        with open(self.log_path(name), 'ab') as log:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **started_by_this(), 'PYTHONUNBUFFERED': '1',
                     'RCUTILS_COLORIZED_OUTPUT': '0'},
                start_new_session=True, preexec_fn=begin_as_child if own else die_with_parent)
        self._started[name] = time.monotonic()

    def log_path(self, name: str) -> Path:
        """Return the log file of a node."""
        return self.log_directory / f'{name}.log'

    def last_words(self, name: str) -> str:
        """Return the last `LAST_LINES` lines of a node's log, '' for an empty or missing log."""
        try:
            lines = self.log_path(name).read_text(errors='replace').strip().splitlines()
        except OSError:
            return ''
        return '\n'.join(lines[-LAST_LINES:])

    def pid(self, name: str) -> int:
        """Return the process id of a node."""
        return self._running[name].pid

    def poll(self, respawn: bool = True) -> dict[str, int]:
        """Return the exit codes of dead nodes; restart those that respawn instead."""
        dead = {}
        for name, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            # A node that dies within seconds of its start would die again: report it instead.
            if respawn and self._graph[name].respawn \
                    and time.monotonic() - self._started[name] > 5.0:
                self._spawn(name)
            else:
                dead[name] = code
        return dead

    def stop(self, grace: float = 5.0) -> list[str]:
        """
        End every process group: SIGINT, SIGTERM after `grace` s, SIGKILL after 2 s more.

        :return: names of the nodes that had to be killed
        """
        for number, patience in ((signal.SIGINT, grace), (signal.SIGTERM, 2.0)):
            self._signal(number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and self._alive():
                time.sleep(0.02)
        killed = self._alive()
        self._signal(signal.SIGKILL)
        for process in self._running.values():
            process.wait()
        return killed

    def _alive(self) -> list[str]:
        return [name for name, process in self._running.items() if process.poll() is None]

    def _signal(self, number: int) -> None:
        for name in self._alive():
            try:
                os.killpg(self._running[name].pid, number)
            except ProcessLookupError:
                continue
