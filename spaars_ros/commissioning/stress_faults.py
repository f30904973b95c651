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

"""Faults of `spaars stress`: injection, end, and recovery of the run."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
import os
from pathlib import Path
import resource
import signal
import subprocess
import sys
from typing import Any

import numpy as np
from std_srvs.srv import Trigger

from spaars_ros.commissioning.stress_hostile import empty_messages
from spaars_ros.commissioning.stress_hostile import far_bundle
from spaars_ros.commissioning.stress_hostile import forged_cost
from spaars_ros.commissioning.stress_hostile import forged_steps
from spaars_ros.commissioning.stress_hostile import raising_bundle
from spaars_ros.commissioning.stress_hostile import truncated_bundle
from spaars_ros.commissioning.stress_rig import PATIENCE
from spaars_ros.commissioning.stress_rig import StressRig
from spaars_ros.commissioning.stress_rig import TIMEOUT
from spaars_ros.interrupts import die_with_parent
from spaars_ros.sim.fault_table import DEFAULTS

FOLLOWED = 6.0
"""s in which the delay of the arm can be judged, which compares many states with their
commands."""
LATER = 1.0
"""s; the start of a fault is delayed by up to this time, at random."""
SETTLED = 0.5
"""s at rest under a latched stop after which the rest of the fault adds no information."""
LATE = 1.0
"""s for what the run does without help once the fault is over, and for a late stop."""

WITH_SOURCES = 'insert'
"""Task whose simulated scene has sensors."""
WITH_CAMERA = 'pick_camera'
"""Task with a camera."""


@dataclass(frozen=True)
class StressFault:
    """A fault of the matrix."""

    name: str
    about: str
    sim: dict[str, float] = field(default_factory=dict)
    """Parameters of the sim while it lasts."""
    kill: str = ''
    """Node that is killed."""
    begin: Callable[[StressRig], Callable[[], None]] | None = None
    """Starts the fault where parameters do not; returns the function that ends it."""
    seconds: float = 3.0
    """Duration."""
    remote: str = ''
    """Node that runs on another host, whose cable is pulled."""
    joints: tuple[str, ...] = ()
    """Parameters of `sim` that name one joint each, drawn anew in every run."""
    task: str = ''
    """Task file of its run; '': the default task, without sources."""
    unstoppable: bool = False
    """Whether nothing is left that could stop the arm, so that its motion is not judged."""

    def drawn(self, rng: np.random.Generator, joints: int) -> dict[str, float]:
        """Return the parameters of the sim, with joints drawn at random."""
        which = 1.0 + rng.permutation(joints)[:len(self.joints)]
        return {**self.sim, **dict(zip(self.joints, which.tolist()))}


def _file_size_limit(rig: StressRig, node: str, file: Path) -> Callable[[], None]:
    """Limit the size of a node's files to `file`'s present size, as on a full disk."""
    pid = rig.processes.pid(node)
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (file.stat().st_size, before[1]))

    def end() -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    return end


def _server_disk(rig: StressRig) -> Callable[[], None]:
    return _file_size_limit(rig, 'policy_server', rig.run.path / 'spool' / 'steps.f64')


def _learner_disk(rig: StressRig) -> Callable[[], None]:
    return _file_size_limit(rig, 'learner', rig.run.recording)


def _overload(rig: StressRig) -> Callable[[], None]:
    """Run two busy processes per core, at the same priority as the control loop."""
    busy = [subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass'],
                             stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
            for _ in range(2 * (os.cpu_count() or 1))]

    def end() -> None:
        for process in busy:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return end


def _wire(name: str, about: str, seconds: float = 3.0, joints: tuple[str, ...] = (),
          **faults: float) -> StressFault:
    return StressFault(name, about, {f'fault.{key}': value for key, value in faults.items()},
                       seconds=seconds, joints=tuple(f'fault.{name}' for name in joints))


def _source(name: str, about: str, seconds: float = 3.0, **faults: float) -> StressFault:
    """Return a fault of sensors other than the arm's, in a run of a task that has some."""
    return StressFault(name, about, {f'fault.{key}': value for key, value in faults.items()},
                       seconds=seconds, task=WITH_SOURCES)


def _camera(name: str, about: str, seconds: float = 3.0, **faults: float) -> StressFault:
    """Return a fault of a camera, in a run of a task that has one."""
    return StressFault(name, about, {f'fault.{key}': value for key, value in faults.items()},
                       seconds=seconds, task=WITH_CAMERA)


MATRIX: tuple[StressFault, ...] = (
    StressFault('none', 'no fault, to compare with'),
    _wire('dropped', 'no joint_states at all', drop=1.0),
    _wire('lossy', 'three of ten joint_states are lost', drop=0.3),
    _wire('delayed', 'joint_states 0.4 s late', delay=0.4),
    _wire('duplicated', 'every second joint_states comes twice', duplicate=0.5),
    StressFault('reordered', 'every second joint_states comes behind the next one',
                {'fault.reorder': 0.5}, seconds=5.0),
    _wire('nan', 'a NaN in one of five joint_states', nan=0.2),
    _wire('spike', 'one joint off by 0.5 rad in one of five joint_states', spike=0.5,
          spike_share=0.2),
    _wire('frozen', 'all joints report the same for ever', frozen=64.0),
    _wire('clock_forward', 'stamps jump 3 s ahead', clock_jump=3.0),
    _wire('clock_back', 'stamps jump 3 s back', clock_jump=-3.0),
    _wire('late_controller', 'commands obeyed 0.15 s late', FOLLOWED, command_delay=0.15),
    _wire('soft_controller', 'commands lag with 0.3 s', FOLLOWED, command_lag=0.3),
    _wire('payload', '2 kg at the tip that nobody knows of', FOLLOWED, payload=2.0),
    _wire('friction', '5 N m of dry friction on every joint', FOLLOWED, friction=5.0),
    _wire('swapped', "two joints obey each other's commands", FOLLOWED, ('swap', 'swap_with')),
    _wire('flipped', 'a joint moves against its command', FOLLOWED, ('flip',)),
    _wire('scaled', 'a joint moves at twice its command', FOLLOWED, ('scale_joint',), scale=2.0),
    _wire('not_moving', 'a joint does not obey', FOLLOWED, ('scale_joint',), scale=0.0),
    StressFault('commands_lost', 'the controller gets no command; it has a timeout of '
                f'{TIMEOUT} s', {'fault.command_drop': 1.0, 'command_timeout': TIMEOUT},
                seconds=FOLLOWED),
    _wire('commands_lossy', 'three of ten commands are lost', FOLLOWED, command_drop=0.3),
    StressFault('unsubscribed', 'nobody subscribes to command; the controller has a timeout of '
                f'{TIMEOUT} s', {'fault.unsubscribed': 1.0, 'command_timeout': TIMEOUT}),
    _wire('pushed', 'a hand moves a joint at 0.3 rad/s', joints=('push_joint',), push=0.3),
    _wire('velocity_zero', 'joint_states with velocities of 0', FOLLOWED, velocity_zero=1.0),
    _wire('velocity_empty', 'joint_states without velocities', velocity_empty=1.0),
    _wire('velocity_nan', 'joint_states with NaN as velocities', velocity_nan=1.0),
    _wire('effort_empty', 'joint_states without efforts', effort_empty=1.0),
    _wire('effort_nan', 'joint_states with NaN as efforts', effort_nan=1.0),
    _wire('split', 'joint_states in two messages', split=3.0),
    _wire('gripper', "a gripper's joints on joint_states, in messages of their own", gripper=1.0),
    _source('source_silent', 'no sample of any source', source_drop=1.0),
    _source('source_late', 'samples of the sources 1 s late', source_delay=1.0),
    _source('source_nan', 'a NaN in one of five samples', source_nan=0.2),
    _source('source_frozen', 'the sources report the same for ever; no limit is set', 4.0,
            source_frozen=1.0),
    _camera('camera_silent', 'no image', camera_drop=1.0),
    _camera('camera_late', 'images 1 s late', camera_delay=1.0),
    _camera('camera_frozen', 'the same image for ever, with new stamps; no limit is set', 4.0,
            camera_frozen=1.0),
    _camera('camera_black', 'every image is black', camera_black=1.0),
    _camera('camera_size', 'images of half the size', camera_size=1.0),
    _camera('camera_encoding', 'images in an encoding that nobody knows', camera_encoding=1.0),
    StressFault('encoder_killed', 'SIGKILL', kill='encoder', task=WITH_CAMERA),
    StressFault('learner_killed', 'SIGKILL', kill='learner'),
    StressFault('monitor_killed', 'SIGKILL', kill='cost_monitor', seconds=5.0),
    StressFault('server_killed', f'SIGKILL; the controller has a timeout of {TIMEOUT} s',
                {'command_timeout': TIMEOUT}, kill='policy_server'),
    StressFault('server_killed_no_timeout', 'SIGKILL; the controller keeps the last velocity',
                kill='policy_server', unstoppable=True),
    StressFault('truncated_bundle', 'half a bundle on learner/policy', begin=truncated_bundle),
    StressFault('far_bundle', 'a bundle of version 2^53', begin=far_bundle),
    StressFault('raising_bundle', 'a network that raises where the arm gets to',
                begin=raising_bundle, seconds=8.0),
    StressFault('empty_messages', 'fields of size 0, no fields, NaN, on five topics',
                begin=empty_messages),
    StressFault('forged_cost', 'costs of 1e6 of episodes that there never were',
                begin=forged_cost),
    StressFault('forged_steps', 'the newest step again, with other contents',
                begin=forged_steps),
    StressFault('server_disk_full', "the policy server's files cannot grow", begin=_server_disk,
                seconds=5.0),
    StressFault('learner_disk_full', "the learner's files cannot grow", begin=_learner_disk),
    StressFault('overload', 'two busy processes a core', begin=_overload),
    StressFault('partition_learner', 'the learner on another host, cable pulled',
                remote='learner'),
    StressFault('partition_robot', 'the robot on another host, cable pulled; its controller '
                'keeps the last velocity', remote='sim', unstoppable=True),
    StressFault('partition_robot_timeout', 'the same; the controller has a timeout of '
                f'{TIMEOUT} s', {'command_timeout': TIMEOUT}, remote='sim'),
)
BY_NAME: dict[str, StressFault] = {fault.name: fault for fault in MATRIX}


def inject(rig: StressRig, fault: StressFault, **more: Any) -> dict[str, Any]:
    """
    Inject one fault in a running rig, end it, bring the run back; return its row.

    When it begins and which joints it affects are drawn from the rig's seed.

    :param rig: the running rig
    :param fault: the fault
    :param more: `cut` and `mend`, functions that pull a cable and reconnect it
    :raises StressError: the run did not move before the fault
    """
    watch = rig.watch
    rng = np.random.default_rng([rig.seed, [one.name for one in MATRIX].index(fault.name)])
    values = fault.drawn(rng, len(rig.run.robot.joints))
    rig.until(lambda: watch.follows, FOLLOWED)
    rig.spin(float(rng.uniform(0.0, LATER)))
    rig.wait_until_moving()
    timeout = {name: value for name, value in values.items() if name == 'command_timeout'}
    if timeout:
        rig.set_sim(timeout)
    watch.begin()
    rig.set_sim({name: value for name, value in values.items() if name not in timeout})
    ends = [fault.begin(rig)] if fault.begin else []
    if fault.kill:
        os.kill(rig.processes.pid(fault.kill), signal.SIGKILL)
    if fault.remote:
        more['cut']()
        ends.append(more['mend'])
    try:
        _watch(rig, fault)
    finally:
        for end in ends:
            end()
    if fault.remote:
        rig.spin(0.5)  # the cable is connected again: the waiting messages arrive
    detected, by = watch.detected
    row = {'fault': fault.name, 'about': fault.about, 'detected_s': detected, 'detected_by': by,
           'stopped_s': watch.stopped, 'stop': watch.code, 'seed': rig.seed,
           'judged': not fault.unstoppable}
    rig.set_sim({name: DEFAULTS.get(name.removeprefix('fault.'), 0.0) for name in values})
    row['recovered'] = _bring_back(rig, fault)
    if row['recovered'] == 'no':
        row['detected_by'] = f'{by}; then stop {watch.code or "none"}, phase {watch.phase}, ' \
            f'step {watch.newest}'.lstrip('; ')
    row.update(_margins(watch))  # until the run continues: an arm without a client moves
    row['transitions_lost'] = rig.transitions_lost()
    return row


def _watch(rig: StressRig, fault: StressFault) -> None:
    """Listen while the fault lasts, or until it has stopped the arm."""
    def look() -> bool:
        for name in rig.processes.poll(respawn=False):
            rig.watch.detect(f'its process ended ({name})')
        return rig.watch.rested > SETTLED
    rig.until(look, fault.seconds)


def _margins(watch: Any) -> dict[str, Any]:
    least = watch.margins()
    known = {name: value for name, value in least.items()
             if value is not None and name != 'speed'}
    worst = min(known, key=lambda name: known[name], default=None)
    return {'worst_margin': known.get(worst) if worst else None,
            'worst_limit': {'joint': 'joint position, rad', 'zone': 'keep-out, m'}.get(
                worst or '', ''),
            'joint_margin_rad': least['joint'], 'zone_margin_m': least['zone'],
            'worst_speed': least['speed']}


def _bring_back(rig: StressRig, fault: StressFault) -> str:
    """Bring the run back with the fewest actions; return their names, or 'no'."""
    how = []
    if fault.kill == 'policy_server' and 'command_timeout' not in fault.sim:
        # The arm moved on for seconds, perhaps into a joint limit: somebody has to bring it back.
        rig.call(Trigger, 'sim/reset', Trigger.Request())
        how.append('arm brought back')
    if fault.kill:
        if not rig.restart(fault.kill):
            return 'no'
        how.append('restart')
    rig.until(lambda: bool(rig.watch.code), LATE)
    if rig.watch.code:
        if not rig.reset():
            return 'no'
        how.append('reset')
    return ' + '.join(how) or 'by itself' if rig.steps_go_on(PATIENCE) else 'no'
