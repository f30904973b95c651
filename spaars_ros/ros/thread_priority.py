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

"""Real-time priority of the threads of a node, where the system permits it."""

import os
from pathlib import Path

TASKS = Path('/proc/self/task')


class ThreadPriority:
    """
    Scheduling policy of the threads of this process.

    A process that was started with another policy (chrt, systemd) keeps it: priority 0 only
    reverts what this object changed.
    """

    def __init__(self) -> None:
        self._raised = False

    def take(self, priority: int) -> str:
        """
        Run all present threads under SCHED_FIFO; return '' or the reason of the failure.

        These are the threads of the executor, the middleware and the numerical libraries.
        Threads that start later (files, bundles) keep the normal policy: with the same real-time
        priority they would not yield to the control loop.

        :param priority: 1 to 99 (the default of ros2_control is 50); 0 restores the normal policy
        """
        if not priority and not self._raised:
            return ''
        if not hasattr(os, 'sched_setscheduler'):
            return 'this system has no SCHED_FIFO'
        # SCHED_RESET_ON_FORK in both cases: to clear the flag needs a permission, to set it not.
        policy = (os.SCHED_FIFO if priority else os.SCHED_OTHER) | os.SCHED_RESET_ON_FORK
        for task in sorted(TASKS.iterdir(), key=lambda path: int(path.name)):
            try:
                os.sched_setscheduler(int(task.name), policy, os.sched_param(priority))
            except ProcessLookupError:
                continue  # it ended meanwhile
            except OSError as error:
                return (f'thread_priority {priority} not permitted ({error.strerror}): give the '
                        'user rtprio in /etc/security/limits.d, as for ros2_control')
            self._raised = True
        self._raised = priority > 0
        return ''
