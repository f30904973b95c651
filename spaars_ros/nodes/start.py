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
Start one node so that a signal ends it cleanly at any moment, also during its imports.

Run it as a file (`python .../nodes/start.py spaars_ros.nodes.learner.node --ros-args ...`) or as
a console script, but not with `python -m`: that puts the working folder first on the path, and a
`random.py` there would run inside the node.
"""

import sys

if __name__ == '__main__':
    # Remove the folder of this file; the package itself is found where it is installed.
    del sys.path[0]

from importlib import import_module
import os
import runpy
import signal
from types import FrameType
from typing import NoReturn

from spaars_ros.interrupts import die_with_parent  # first: this import reads the parent
from spaars_ros.interrupts import leave
from spaars_ros.interrupts import load_glfw_here
from spaars_ros.interrupts import STARTED_BY
from spaars_ros.interrupts import starter_has_ended

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _leave(number: int, frame: FrameType | None) -> None:
    """Exit at once: nothing is open yet, and nothing moves."""
    os._exit(0)


def await_signals() -> None:
    """Make a signal end this process with code 0 until the node installs its own handlers."""
    # rclpy's wheels re-execute the interpreter, which loses handlers and keeps the signal mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    if os.environ.get(STARTED_BY):
        # For a launch that is killed during the imports: that of torch takes seconds.
        die_with_parent()
        if starter_has_ended():
            os._exit(0)
    import_module('rclpy')
    load_glfw_here()
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN or number in ENDING[:2]:
            signal.signal(number, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def start(name: str) -> NoReturn:
    """Import the node `name`, run it and exit with its exit code."""
    await_signals()
    leave(int(import_module(f'spaars_ros.nodes.{name}.node').main()))


def policy_server() -> NoReturn:
    """Run the policy server and exit with its exit code."""
    start('policy_server')


def cost_monitor() -> NoReturn:
    """Run the cost monitor and exit with its exit code."""
    start('cost_monitor')


def learner() -> NoReturn:
    """Run the learner and exit with its exit code."""
    start('learner')


def sim() -> NoReturn:
    """Run the simulated arm and exit with its exit code."""
    start('sim')


def encoder() -> NoReturn:
    """Run the encoder of the task's cameras and exit with its exit code."""
    start('encoder')


if __name__ == '__main__':
    await_signals()
    try:
        runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, int):
            leave(end.code)
        raise
