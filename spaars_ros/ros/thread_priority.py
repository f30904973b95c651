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


def take_priority(priority: int) -> str:
    """
    Run the threads that are here now under SCHED_FIFO, and return '' or why that failed.

    They are the executor's and the middleware's. Threads made later (files, bundles) stay
    ordinary: of equal real-time priority, they would not yield to the control loop.

    :param priority: 1 to 99, ros2_control's own default being 50; 0 leaves them ordinary
    """
    if not hasattr(os, 'sched_setscheduler'):
        return 'this system has no SCHED_FIFO' if priority else ''
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK if priority else os.SCHED_OTHER
    for task in sorted(TASKS.iterdir(), key=lambda path: int(path.name)):
        thread = int(task.name)
        try:
            if not priority and os.sched_getscheduler(thread) == os.SCHED_OTHER:
                continue  # as nearly always: it takes no permission then
            os.sched_setscheduler(thread, policy, os.sched_param(priority))
        except ProcessLookupError:
            continue  # it ended meanwhile
        except OSError as error:
            return (f'thread_priority {priority} not permitted ({error.strerror}): give the user '
                    'rtprio in /etc/security/limits.d, as for ros2_control')
    return ''
