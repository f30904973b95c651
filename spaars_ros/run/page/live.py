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

"""Page of a running graph."""

from collections.abc import Callable
import time

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.interrupts import Interrupts
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.run.liveview import LiveState
from spaars_ros.run.page.controls import Controls
from spaars_ros.run.page.controls import Limits
from spaars_ros.run.page.curves import Curves
from spaars_ros.run.page.driver import Driver
from spaars_ros.run.page.handle import Handle
from spaars_ros.run.page.link import Link
from spaars_ros.run.page.link import STEPS
from spaars_ros.run.page.paths import Paths
from spaars_ros.run.page.picture import Picture
from spaars_ros.run.page.server import Access
from spaars_ros.run.page.server import PageError
from spaars_ros.run.page.server import PageServer
from spaars_ros.run.page.switches import Switches
from spaars_ros.run.page.words import plain
from spaars_ros.run.page.words import summary
from spaars_ros.run.run_observer import RunObserver
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.protocols import TopView
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task

FRAME = 1.0 / 15.0
"""s between two updates of the arm."""
WORDS = 0.5
"""s between two updates of text, paths and curves."""
READ_BACK = 2.0
"""s between two requests for limits and switches."""
WAITING = 1.0
"""s between two requests while no policy server answers."""


class LivePage:
    """Page of one run; every number comes from the graph."""

    def __init__(self, server: PageServer, access: Access, link: Link, robot: Robot, task: Task,
                 joint_states: str) -> None:
        self._server, self._link, self._robot, self._task = server, link, robot, task
        self._paths, self._target = Paths(), np.full(3, np.nan)
        self._kinematics = Kinematics(robot)  # used by the subscriber thread only
        self._picture = Picture(server, robot)
        self._drawn_paths = 0
        reach = self._kinematics.reach(robot)
        server.look_at(*reach)
        self._state = LiveState(title='page', subtitle=f'{robot.name}, {task.name}',
                                horizon=task.horizon, metrics=task.spec.metrics)
        limits = task.constraint_limits
        self._state.limit = float(limits[0]) if len(limits) else float('inf')
        self._driver = Driver(link, robot, self._tip)
        self._controls = Controls(server, access, link, self._driver)
        self._limits = Limits(server, access, link, self._controls,
                              [each.name for each in robot.constraints])
        self._switches = Switches(server, access, link, self._controls)
        self._handle = Handle(server, access, self._driver)
        self._words = server.gui.add_markdown('', order=0.3)
        with server.gui.add_folder('Curves', order=4.0):
            self._curves = Curves(server)
        self._observer = RunObserver(link.node, task, self._state, steps=STEPS, seen=self._see)
        link.listen_to_joints(robot.joints, joint_states)
        self._at = {'frame': 0.0, 'words': 0.0, 'limits': 0.0}
        self._driver.start()

    def _tip(self) -> Array | None:
        position = self._link.position
        return None if position is None else self._picture.tip_at(position)

    def _see(self, schema: StepSchema, row: Array) -> None:
        """Take a step record; called in the subscriber thread."""
        position = self._link.position
        if position is None:
            return
        get = schema.get
        self._paths.add(int(get(row, 'episode')), self._kinematics.tip(position),
                        int(get(row, 'mode')), bool(get(row, 'intervention')))
        if isinstance(self._task, TopView):
            self._target = np.asarray(self._task.target(row[schema.fields['observation']]))

    def _due(self, what: str, period: float) -> bool:
        now = time.monotonic()
        if now - self._at[what] < period:
            return False
        self._at[what] = now
        return True

    def update(self) -> None:
        """Update the parts of the page that are due."""
        position = self._link.position
        if position is not None and self._due('frame', FRAME):
            with self._server.atomic():
                self._picture.show(position)
                self._handle.follow(self._picture.tip_at(position))
                self._picture.point_at(self._target)
        if self._due('words', WORDS):
            self._tell()
            self._draw_paths()
            self._curves.show(list(self._state.episodes), self._state.limit)
        if self._due('limits', READ_BACK):
            self._limits.ask()
            self._switches.ask()

    def _tell(self) -> None:
        now, observer = time.monotonic(), self._observer
        ages = [('arm', now - self._link.heard if self._link.heard else None),
                *((name.replace('_', ' '), now - observer.heard[name]
                   if name in observer.heard else None)
                  for name in ('policy_server', 'learner', 'cost_monitor'))]
        content = summary(self._state, observer.stop, observer.asking, ages, observer.unscored,
                          self._driver.active)
        if self._words.content != content:
            self._words.content = content

    def _draw_paths(self) -> None:
        if self._paths.changed == self._drawn_paths:
            return
        self._drawn_paths = self._paths.changed
        paths = self._paths.snapshot()
        for back, (_, tips, modes, intervened) in enumerate(reversed(paths)):
            self._picture.trail(str(back), tips, modes, intervened, fade=0.15 * back)

    def close(self) -> None:
        """Release the arm."""
        self._driver.close()


def find_run(link: Link, server: PageServer, interrupts: Interrupts, say: Callable[[str], None],
             robot: str, task: str) -> tuple[Robot, Task] | None:
    """
    Wait for a policy server and return its robot and task, None when interrupted.

    :param robot: robot file, '': that of the policy server
    :param task: task file, '': that of the policy server
    :raises PageError: the robot file or task file does not exist here or cannot be used
    """
    found: dict[str, str] = {}
    waits = server.gui.add_markdown('', order=0.3)
    waits.content = f'## Waits for {plain(link.server)}'
    said = time.monotonic()
    while not (robot and task) and len(found) < 2 and not interrupts.requested:
        link.read('policy_server', ('robot', 'task'), found.update)
        time.sleep(WAITING)
        if said and time.monotonic() - said > 10.0:
            say(f'waits for {link.server}: none in this ROS domain yet (--domain, --namespace)')
            said = 0.0
    waits.remove()
    if interrupts.requested:
        return None
    try:
        arm = load_robot(robot or found['robot'])
        return arm, make_task(arm, load_task(task or found['task']))
    except (ConfigError, OSError) as error:
        raise PageError(f'the run names files that are not here: {error}: give --robot and '
                        '--task') from None


def serve(namespace: str, *, host: str, port: int, token: str, say: Callable[[str], None],
          interrupts: Interrupts, robot: str = '', task: str = '',
          joint_states: str = 'joint_states') -> None:
    """
    Serve the page of a run until interrupted.

    :param host: address to listen on
    :param port: port to listen on
    :param token: token that a browser needs to move the arm
    :raises PageError: the port is in use, or the run's files are not available here
    """
    server = PageServer(host, port, 'spaars')
    link = Link(namespace)
    page = None
    try:
        access = Access(server, token)
        link.start()
        with interrupts.deferred():
            found = find_run(link, server, interrupts, say, robot, task)
            if found is None:
                return
            page = LivePage(server, access, link, *found, joint_states)
            while not interrupts.requested:
                page.update()
                time.sleep(FRAME / 2)
    finally:
        if page is not None:
            page.close()
        link.close()
        server.stop()
