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

"""All monitors of the policy server except the safety filter, in one place. Free of ROS."""

from collections.abc import Mapping
from typing import Any

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.monitors.astray import Astray
from spaars_ros.safety.monitors.clock_watch import ClockWatch
from spaars_ros.safety.monitors.cost_watch import CostWatch
from spaars_ros.safety.monitors.drift import DriftWatch
from spaars_ros.safety.monitors.external import ExternalMotion
from spaars_ros.safety.monitors.following import Following
from spaars_ros.safety.monitors.learner_watch import LearnerWatch
from spaars_ros.safety.monitors.motion import MotionWatch
from spaars_ros.safety.monitors.timing import TimingWatch
from spaars_ros.safety.monitors.watchdog import Watchdog
from spaars_ros.safety.monitors.wiring import WiringWatch
from spaars_ros.safety.stop import Stop

JUDGED = 0.1
"""s between two judgements of the wiring."""


class Monitors:
    """
    The monitors of one activation.

    :param robot: the robot file
    :param p: parameters of the policy server
    :param wall: whether stamps are of a clock that runs as fast as the monotonic one
    :param contact: whether the task makes contact on purpose
    """

    def __init__(self, robot: Robot, p: Mapping[str, Any], *, wall: bool,
                 contact: bool = False) -> None:
        self.stamps = Watchdog(p['max_observation_age'], window=p['window'],
                               out_of_order=p['out_of_order'], wall=wall)
        # An arm with a delay stands still for that long although it is commanded to move.
        frozen = p['frozen'] and max(p['frozen'], robot.control.delay + 2)
        self.motion = MotionWatch(robot, spike=p['spike'], frozen=frozen,
                                  mismatch=p['velocity_mismatch'], ticks=p['mismatch_ticks'])
        self.timing = TimingWatch(period=robot.period, deadline=p['deadline'] * robot.period,
                                  late=p['late'], overruns=p['overruns'], window=p['window'])
        self.cost = CostWatch(mode=p['cost_monitor'], timeout=p['cost_timeout'],
                              names=[c.name for c in robot.constraints],
                              limit=p['max_episode_cost'])
        self.learner = LearnerWatch(mode=p['learner'], timeout=p['learner_timeout'])
        self.clock = ClockWatch(p['clock_timeout'], robot.period)
        self.drift = DriftWatch(robot)
        self.following = Following(robot)
        self.wiring = WiringWatch(robot, contact)
        self.external = ExternalMotion(robot)
        self.astray = Astray(robot)
        self._ticks_apart = max(1, round(JUDGED * robot.control.rate))
        self._ticks = 0
        self._wall = wall

    def time(self, now: int, steady: float) -> float:
        """
        Return the time, s, in which states and commands are compared.

        :param now: ns on the node's clock
        :param steady: s on the monotonic clock
        """
        return steady if self._wall else now * 1e-9

    def commanded(self, time: float, command: Array | None) -> None:
        """Note that a command (d,) rad/s takes effect at `time` s; None: something else moves."""
        self.following.commanded(time, command)
        self.wiring.commanded(time, command)
        self.external.commanded(command)
        self.astray.commanded(command)
        self.drift.commanded(command)

    def moved(self, time: float, state: RobotState) -> Stop | None:
        """
        Compare a state, measured at `time` s, with earlier commands; call once per tick.

        :return: a stop for drift or wrong wiring, or None
        """
        self.following.measured(time, state.velocity)
        self.wiring.measured(time, state.position)
        self._ticks += 1
        drift = self.drift.take(state)
        return drift if self._ticks % self._ticks_apart else self.wiring.judge() or drift

    def resumed(self) -> None:
        """Judge wiring and drift only by motion after a reset: the stop's cause may be gone."""
        self.wiring.forget()
        self.drift.forget()

    def cause(self, now: int, steady: float) -> Stop | None:
        """
        Return the cause that forbids to continue after a stop, or None.

        :param now: ns on the node's clock
        :param steady: s on the monotonic clock
        """
        return (self.clock.cause() or self.stamps.check(now, steady) or self.stamps.cause()
                or self.motion.cause() or self.timing.cause() or self.cost.cause(steady)
                or self.learner.cause(steady))

    def counts(self) -> dict[str, int]:
        """Return the counters that the diagnostics show."""
        return {'out_of_order': self.stamps.out_of_order,
                'repeated_stamps': self.stamps.repeated, 'late_ticks': self.timing.late.total,
                'overruns': self.timing.overruns.total, 'motion_findings': self.motion.findings,
                'external_motion': self.external.total}
