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

"""Real-time priority of a node's threads, where the user may have it."""

import os
from pathlib import Path

TASKS = Path('/proc/self/task')


class ThreadPriority:
    """
    The scheduling policy of the threads of this process, as far as it was changed here.

    A process that was started with a policy of its own (chrt, systemd) keeps it: 0 only takes
    back what this object gave.
    """

    def __init__(self) -> None:
        self._raised = False

    def take(self, priority: int) -> str:
        """
        Run the threads that are here now under SCHED_FIFO, and return '' or why that failed.

        They are the executor's, the middleware's and those of numerical libraries. Threads made
        later (files, bundles) stay ordinary: of equal real-time priority, they would not yield
        to the control loop.

        :param priority: 1 to 99, ros2_control's own default being 50; 0 gives it back
        """
        if not priority and not self._raised:
            return ''
        if not hasattr(os, 'sched_setscheduler'):
            return 'this system has no SCHED_FIFO'
        # Taking the flag for children away would need a permission that giving it does not.
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
