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

"""The conductor of a launch file: takes the nodes that launch has started through a job."""

import argparse
from collections.abc import Sequence
import sys

from rclpy.utilities import remove_ros_args

from spaars_ros.data.dataset import DatasetError
from spaars_ros.interrupts import die_with_parent
from spaars_ros.interrupts import Interrupted
from spaars_ros.interrupts import Interrupts
from spaars_ros.interrupts import starter_has_ended
from spaars_ros.policy.bundle import BundleError
from spaars_ros.robot.config import ConfigError
from spaars_ros.run import job
from spaars_ros.run import record_job
from spaars_ros.run.check_record import CheckMissing
from spaars_ros.run.check_record import require_passed
from spaars_ros.run.conductor import ConductorError
from spaars_ros.run.folder import RunError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.folder import RunOptions
from spaars_ros.run.liveview import LiveState
from spaars_ros.run.liveview import LiveView
from spaars_ros.run.robot_options import TEXTS
from spaars_ros.run.terminal import steady_streams


def _arguments(args: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser('conductor', description=(
        'Takes the nodes of a launch file through their lifecycle.'))
    parser.add_argument('job', choices=('finetune', 'hold', 'record'))
    for name in ('out', 'robot', 'task', 'training', 'bundle', 'demonstrations',
                 *(option.replace('_', '-') for option in TEXTS), 'run', 'put-back'):
        parser.add_argument(f'--{name}', default='')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--real-time-factor', type=float, default=0.0)
    parser.add_argument('--episodes', type=int, default=150)
    parser.add_argument('--nodes', default='', help='comma-separated, in order of activation')
    for name in ('page', 'resume', 'shared-learner', 'evaluate-in-sim', 'hand-guiding'):
        parser.add_argument(f'--{name}', action='store_true')
    for name in ('sim', 'autostart', 'check'):
        parser.add_argument(f'--{name}', action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args(list(args))


def main(args: Sequence[str] | None = None) -> int:
    """Run beside nodes that a launch file has started; returns the exit code."""
    steady_streams()
    given = _arguments(remove_ros_args(list(args) if args is not None else sys.argv)[1:])
    view = LiveView(LiveState(), plain=True)
    options = RunOptions(
        out=given.out, robot=given.robot or 'panda', task=given.task or 'reach',
        training=given.training or 'spaars', bundle=given.bundle, seed=given.seed,
        demonstrations=given.demonstrations, episodes=given.episodes, sim=given.sim,
        real_time_factor=given.real_time_factor, joint_states=given.joint_states,
        command=given.command, command_interface=given.command_interface,
        params_file=given.params_file, namespace=given.namespace,
        evaluate_in_sim=given.evaluate_in_sim, signing_key=given.signing_key,
        public_key=given.public_key, shared_learner=given.shared_learner)
    with Interrupts() as interrupts:
        try:
            if given.run:
                # ros2 launch that is killed takes the nodes along: their run ends with them.
                die_with_parent()
                if starter_has_ended():
                    return 0
            folder = RunFolder.resume(
                given.out, episodes=given.episodes, params_file=given.params_file or None,
                namespace=given.namespace or None,
                command_interface=given.command_interface or None) \
                if given.resume else RunFolder(options)
            if given.check and not folder.options.sim and not given.hand_guiding:
                require_passed(folder.robot)
            if given.job == 'hold':
                job.check_parameters(folder, given.namespace)
                job.hold(folder, given.nodes.split(','), view, interrupts,
                         namespace=given.namespace, autostart=given.autostart, run=given.run)
                return 0
            if given.job == 'record':
                summary = record_job.record(
                    folder, interrupts, guide=given.hand_guiding, put_back=given.put_back,
                    resume=given.resume, launch=False, namespace=given.namespace,
                    autostart=given.autostart, run=given.run)
                for line in record_job.closing_lines(folder, summary):
                    view.say(line)
                return 0
            job.finetune(folder, view, interrupts, resume=given.resume, launch=False,
                         namespace=given.namespace, autostart=given.autostart, run=given.run,
                         settings_changes={'page': given.page})
            return 0
        except Interrupted:
            return 0
        except (ConfigError, RunError, BundleError, DatasetError, CheckMissing, ConductorError,
                OSError) as error:
            view.say(f'error: {error}')
            return 1


if __name__ == '__main__':
    raise SystemExit(main())
