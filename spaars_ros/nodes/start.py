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
Start one node so that a signal ends it in order at any moment, also while it imports.

As a file (`python .../nodes/start.py spaars_ros.nodes.learner.node --ros-args ...`) or as
a console script.
Not with `python -m`, which puts the working folder first on the path: a `random.py` there would
run inside the node.
"""

import sys

if __name__ == '__main__':
    # This file's own folder; the package itself is found where it is installed.
    del sys.path[0]

from importlib import import_module
import os
import runpy
import signal
from types import FrameType
from typing import NoReturn

from spaars_ros.interrupts import die_with_parent  # first: who is the parent is read here
from spaars_ros.interrupts import leave
from spaars_ros.interrupts import load_glfw_here
from spaars_ros.interrupts import STARTED_BY
from spaars_ros.interrupts import starter_has_ended

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once: nothing has been opened yet, and nothing moves."""
    os._exit(0)


def await_signals() -> None:
    """Let a signal end this process with code 0 until the node says how it ends."""
    # rclpy's wheels start the interpreter again, which forgets handlers and keeps the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    if os.environ.get(STARTED_BY):
        # With a launch that is killed while this imports, which takes torch seconds.
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
    """Import the node `name`, run it, and end with its exit code."""
    await_signals()
    leave(int(import_module(f'spaars_ros.nodes.{name}.node').main()))


def policy_server() -> NoReturn:
    """Run the policy server, and end with its exit code."""
    start('policy_server')


def cost_monitor() -> NoReturn:
    """Run the cost monitor, and end with its exit code."""
    start('cost_monitor')


def learner() -> NoReturn:
    """Run the learner, and end with its exit code."""
    start('learner')


def sim() -> NoReturn:
    """Run the simulated arm, and end with its exit code."""
    start('sim')


def encoder() -> NoReturn:
    """Run the encoder of the task's cameras, and end with its exit code."""
    start('encoder')


if __name__ == '__main__':
    await_signals()
    try:
        runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, int):
            leave(end.code)
        raise
