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

"""Hold joint_states back until the samples of the sources have arrived."""

from collections.abc import Callable

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.ros.sources.source_set import SourceSet


class SourceGate:
    """
    Hold joint_states back until every source has a sample.

    In lockstep, hold them back until the samples of the same tick have arrived, too, because
    messages of different topics have no order. A state that is repeated, because it was not
    answered, is passed on with the present samples.

    :param lockstep: whether a simulation waits for the answer
    :param pass_on: called with a state and its arrival time, s on the monotonic clock
    """

    def __init__(self, lockstep: bool, pass_on: Callable[[RobotState, float], None]) -> None:
        self.sources: SourceSet | None = None
        self._lockstep = lockstep
        self._pass_on = pass_on
        self._held: tuple[RobotState, float] | None = None
        self._state: RobotState | None = None

    def watch(self, sources: SourceSet) -> None:
        """Set the sources to wait for."""
        self.sources = sources
        sources.came = self._on_sample

    def position(self) -> Array | None:
        """Return the newest joint positions (d,) rad; None before the first."""
        return None if self._state is None else self._state.position

    def on_state(self, state: RobotState, arrived: float) -> None:
        """Pass on or hold a state that arrived at `arrived`, s on the monotonic clock."""
        self._state, held = state, self._held
        sources = self.sources
        if sources is None or not sources.readers:
            self._pass_on(state, arrived)
            return
        again = held is not None and held[0].stamp_ns == state.stamp_ns
        if not sources.complete or self._lockstep and not again \
                and not sources.are_of(state.stamp_ns):
            self._held = state, arrived
            return
        self._held = None
        self._pass_on(state, arrived)

    def _on_sample(self) -> None:
        held, sources = self._held, self.sources
        if held is not None and sources is not None and self._lockstep and sources.complete \
                and sources.are_of(held[0].stamp_ns):
            self._held = None
            self._pass_on(*held)
