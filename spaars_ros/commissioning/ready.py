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

"""Preconditions of a run on a robot, before anything moves: wiring check, arm's position."""

from collections.abc import Callable
from typing import Any

import numpy as np

from spaars_ros.commissioning.check import check_wiring
from spaars_ros.commissioning.check import lines_of
from spaars_ros.commissioning.check import QUESTION
from spaars_ros.commissioning.check import WiringNode
from spaars_ros.commissioning.home import HomeMotion
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.zones import zone_distance
from spaars_ros.run.check_record import CheckMissing
from spaars_ros.run.check_record import record_path
from spaars_ros.run.check_record import require_passed
from spaars_ros.run.check_record import save_record

AWAY = 0.2
"""rad from home, in addition to the task's start_noise, where an episode may begin."""


class NotReady(ValueError):
    """A run may not begin here; the message says what to do."""


def make_ready(robot: Robot, start_noise: float, *, confirm: Callable[[str], bool],
               say: Callable[[str], Any], **node: Any) -> None:
    """
    Check the wiring once per robot file, and bring the arm home, each after a question.

    :param robot: the robot file
    :param start_noise: rad about home within which the task begins
    :param confirm: asks the operator
    :param say: shows a line to the operator
    :param node: arguments of `WiringNode`
    :raises CheckMissing: the check failed, or the operator does not want it now
    :raises NotReady: no run may begin at the arm's position, and it is not brought home
    """
    try:
        require_passed(robot)
    except CheckMissing as missing:
        say(str(missing))
        if not confirm(QUESTION.format(name=robot.name)):
            raise CheckMissing('nothing was moved: the wiring has to be checked first (--yes '
                               'answers the question)') from None
        record = check_wiring(robot, sim=False, **node)
        for line in lines_of(record):
            say(line)
        save_record(record, record_path(robot))
        require_passed(robot)
    arm = WiringNode(robot, **node)
    try:
        faults = arm.wait_for_states()
        if faults:
            raise NotReady(faults[0])
        complaint = misplaced(robot, arm.position, start_noise)
        if not complaint:
            return
        if not confirm(f'{complaint}\nMove it home, through the safety filter, at no more than '
                       '0.2 rad/s?'):
            raise NotReady(f'{complaint}: bring it home first (--yes moves it)')
        motion = HomeMotion(robot)
        faults = arm.move(motion) or ([motion.blocked] if motion.blocked else [])
        if faults:
            raise NotReady(faults[0])
    finally:
        arm.close()


def misplaced(robot: Robot, position: Any, start_noise: float) -> str:
    """
    Return why a run may not begin at `position` (d,) rad, or ''.

    :param start_noise: rad about home within which the task begins
    :raises NotReady: the tip is inside a zone, so that no motion may begin there
    """
    tip = Kinematics(robot).tip(position)
    for zone in robot.keep_out:
        if float(zone_distance(zone, tip[None])[0]) < 0.0:
            raise NotReady(f'the tip is inside the zone {zone.name}: move the arm out by hand')
    away = np.abs(np.asarray(position) - robot.home)
    joint = int(away.argmax())
    if away[joint] <= start_noise + AWAY:
        return ''
    return (f'{robot.joints[joint]} is {away[joint]:.2f} rad from home; an episode begins within '
            f'{start_noise:g} rad of it')
