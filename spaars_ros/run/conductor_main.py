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

"""Executable `conductor`: runs a job with the nodes that a launch file has started."""

from collections.abc import Sequence
import sys

from rclpy.utilities import remove_ros_args

from spaars_ros.interrupts import die_with_parent
from spaars_ros.interrupts import Interrupted
from spaars_ros.interrupts import Interrupts
from spaars_ros.interrupts import starter_has_ended
from spaars_ros.run import job
from spaars_ros.run import record_job
from spaars_ros.run.check_record import require_passed
from spaars_ros.run.conductor import ConductorError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.liveview import LiveState
from spaars_ros.run.liveview import LiveView
from spaars_ros.run.option_words import ConductorCall
from spaars_ros.run.terminal import steady_streams


def main(args: Sequence[str] | None = None) -> int:
    """Run the conductor next to the nodes of a launch file; return the exit code."""
    steady_streams()
    call = ConductorCall.read(
        remove_ros_args(list(args) if args is not None else sys.argv)[1:])
    asked, start, run = call.asked, call.asked.start, call.run
    space = asked.values['namespace']
    view = LiveView(LiveState(), plain=True)
    with Interrupts() as interrupts:
        try:
            if run:
                # A killed ros2 launch ends its nodes, and so the run: end with it.
                die_with_parent()
                if starter_has_ended():
                    return 0
            folder = RunFolder.resume(
                asked.values['out'], **asked.anew(),
                command_interface=asked.values['command_interface'] or None) \
                if start.resume else RunFolder(asked.config())
            if start.check and not folder.options.sim and not start.hand_guiding:
                require_passed(folder.robot)
            if call.job == 'hold':
                job.check_parameters(folder, space)
                job.hold(folder, call.nodes, view, interrupts,
                         namespace=space, autostart=start.autostart, run=run)
                return 0
            if call.job == 'record':
                summary = record_job.record(
                    folder, interrupts, guide=start.hand_guiding, put_back=start.put_back,
                    resume=start.resume, launch=False, namespace=space,
                    autostart=start.autostart, run=run)
                for line in record_job.closing_lines(folder, summary):
                    view.say(line)
                return 0
            job.finetune(folder, view, interrupts, resume=start.resume, launch=False,
                         namespace=space, autostart=start.autostart, run=run,
                         settings_changes={'page': bool(start.page)})
            return 0
        except Interrupted:
            return 0
        except (ValueError, ConductorError, OSError) as error:
            view.say(f'error: {error}')
            return 1


if __name__ == '__main__':
    raise SystemExit(main())
