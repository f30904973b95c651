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

"""Build diagnostic messages (REP 107) from plain values."""

from collections import deque
from collections.abc import Iterable

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue

OK = DiagnosticStatus.OK
WARN = DiagnosticStatus.WARN
ERROR = DiagnosticStatus.ERROR
STALE = DiagnosticStatus.STALE


MOST_VALUES = 1000
MOST_TEXT = 500
"""Characters of a received text that are shown."""


def printable(text: str, most: int = MOST_TEXT) -> str:
    """
    Return a received text as one line that is safe to print to a terminal.

    Characters that are not printable become Python escapes (ESC becomes backslash, x1b), so that
    the text cannot move the cursor or set a colour.

    :param most: characters kept; a longer text is cut and ends with ' ...'
    """
    if len(text) > most:
        text = text[:most] + ' ...'
    return text if text.isprintable() else ''.join(
        c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def _text(value: object) -> str:
    return f'{value:.6g}' if isinstance(value, float) else str(value)


def status(name: str, level: bytes, message: str, **values: object) -> DiagnosticStatus:
    """Return a DiagnosticStatus; `values` become its key-value pairs."""
    return DiagnosticStatus(name=name, level=level, message=message, values=[
        KeyValue(key=key, value=_text(value)) for key, value in values.items()])


def full_name(namespace: str, name: str) -> str:
    """Return the name of a status, prefixed with the namespace: robots share `/diagnostics`."""
    place = namespace.strip('/')
    return f'{place}/{name}' if place else name


def own_name(namespace: str, name: str) -> str:
    """
    Return the name of a status without the namespace; '' if it belongs to another namespace.

    The learner of a fleet may be in any namespace. It publishes one status per robot, named
    `learner: <namespace>`, which belongs to that robot.
    """
    here = namespace.strip('/')
    node, mark, about = name.partition(': ')
    place, _, node = node.strip('/').rpartition('/')
    shared = bool(here) and node == 'learner' and about == here
    return node + mark + about if place == here or shared else ''


def diagnostic_array(stamp: Time, statuses: Iterable[DiagnosticStatus]) -> DiagnosticArray:
    """Return the DiagnosticArray message of some statuses."""
    msg = DiagnosticArray(status=list(statuses))
    msg.header.stamp = stamp
    return msg


def values_of(one: DiagnosticStatus) -> dict[str, str]:
    """Return the first `MOST_VALUES` key-value pairs of a status, made `printable`."""
    return {printable(pair.key): printable(pair.value) for pair in one.values[:MOST_VALUES]}


class LoopStatistics:
    """Rate and latency of a control loop over the last `window` ticks."""

    def __init__(self, window: int = 1000) -> None:
        self._latency: deque[float] = deque(maxlen=window)
        self._times: deque[float] = deque(maxlen=window)

    def add(self, now: float, latency: float) -> None:
        """Add a tick at time `now` (s) with `latency` (s) from observation to command."""
        self._times.append(now)
        self._latency.append(latency)

    def values(self) -> dict[str, float]:
        """Return rate_hz, latency_p50_ms and latency_p99_ms; 0 before the second tick."""
        if len(self._times) < 2:
            return {'rate_hz': 0.0, 'latency_p50_ms': 0.0, 'latency_p99_ms': 0.0}
        ordered = sorted(self._latency)
        last = len(ordered) - 1
        span = self._times[-1] - self._times[0]
        return {'rate_hz': (len(self._times) - 1) / span if span > 0 else 0.0,
                'latency_p50_ms': 1e3 * ordered[last // 2],
                'latency_p99_ms': 1e3 * ordered[round(0.99 * last)]}
