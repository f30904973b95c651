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

"""Monitor of one source: present, fresh, in order, finite and changing."""

from typing import Literal

from spaars_ros.data.schema import Array
from spaars_ros.safety.monitors.recent import Recent
from spaars_ros.safety.stop import Stop

ORDER_WINDOW, ORDER_LIMIT = 50, 10
"""Window of samples, and how many of them out of order are a fault; fewer are only ignored."""
BACK_NS = 1_000_000_000
"""ns; a stamp this far behind the newest means a clock that was set back, not a late message."""
FUTURE = 0.5
"""s; a stamp further ahead of the node's clock comes from another clock."""


class SourceWatch:
    """
    Monitor one source; free of ROS, without a clock.

    :param where: name and topic, for messages
    :param max_age: s; a source whose newest sample is older is silent
    :param silent: what follows when it is silent; hold: nothing
    :param wrong: what follows when samples are wrong
    :param frozen: number of consecutive equal samples that is a fault, 0 for never
    """

    def __init__(self, where: str, *, max_age: float, silent: Literal['stop', 'warn', 'hold'],
                 wrong: Literal['stop', 'warn'], frozen: int = 0) -> None:
        self.where = where
        self.max_age = max_age
        self._silent = silent
        self._wrong = wrong
        self._frozen = frozen
        self._order = Recent(ORDER_WINDOW, ORDER_LIMIT)
        self._newest: int | None = None
        self._values: Array | None = None
        self._same = 1
        self._bad: tuple[str, str] | None = None
        self.refused = 0

    def sample(self, stamp_ns: int, values: Array, age: float) -> bool:
        """
        Check a new sample; return whether it is to be used.

        :param stamp_ns: stamp of the sample, ns
        :param values: its values, compared with those of the sample before
        :param age: s from its stamp to its arrival, on the node's clock; negative: in the future
        """
        back = self._newest is not None and self._newest - stamp_ns > BACK_NS
        if back:
            self.restart()  # the sensor's clock was set back: it continues from there
        elif self._newest is not None and stamp_ns <= self._newest:
            # An equal stamp is a message sent twice, not one out of order.
            self._order.add(stamp_ns < self._newest)
            return False
        if age < -FUTURE:
            self.refuse('FUTURE', f'its stamp is {-age:.3g} s ahead of the clock of this node')
            return False
        self._order.add(back)
        self._bad = None
        if self._values is not None and len(values) == len(self._values) \
                and bool((values == self._values).all()):
            self._same += 1
        else:
            self._same = 1
        self._newest, self._values = stamp_ns, values
        return True

    def restart(self) -> None:
        """Forget stamps and values, for instance after the source's clock was set."""
        self._newest = self._values = self._bad = None
        self._same = 1

    def refuse(self, code: str, text: str) -> None:
        """Count a message that is not a valid sample."""
        self.refused += 1
        self._bad = code, text

    @property
    def refusal(self) -> str:
        """Return what is wrong with the newest message, '' for nothing."""
        return '' if self._bad is None else f'{self._bad[0]}: {self._bad[1]}'

    def stop(self, age: float, late: bool) -> Stop | None:
        """
        Return a stop where the parameters ask for one, else None.

        :param age: s, of the newest sample; infinite before the first
        :param late: whether the newest sample already had such an age when it arrived
        """
        for found, policy in ((self._odd(), self._wrong), (self._old(age, late), self._silent)):
            if found is not None and policy == 'stop':
                return found
        return None

    def warnings(self, age: float, late: bool) -> list[str]:
        """Return the messages of the faults whose parameter is warn."""
        return [f'{found.code}: {found.text}' for found, policy in (
            (self._odd(), self._wrong), (self._old(age, late), self._silent))
            if found is not None and policy == 'warn']

    def _old(self, age: float, late: bool) -> Stop | None:
        if age <= self.max_age:
            return None
        if late:
            return Stop('SOURCE_STALE', age, self.max_age, f's: {self.where} comes with old '
                        'stamps: is its clock that of this machine?')
        return Stop('SOURCE_SILENT', age, self.max_age, f's without {self.where}')

    def _odd(self) -> Stop | None:
        if self._bad is not None:
            code, text = self._bad
            return Stop(f'SOURCE_{code}', self.refused, 0, f'{self.where}: {text}')
        if 0 < self._frozen <= self._same:
            return Stop('SOURCE_FROZEN', self._same, self._frozen,
                        f'samples running of {self.where} are exactly the same')
        if self._order.too_many:
            return Stop('SOURCE_ORDER', self._order.count, ORDER_LIMIT,
                        f'samples of the last {ORDER_WINDOW} of {self.where} are out of order')
        return None
