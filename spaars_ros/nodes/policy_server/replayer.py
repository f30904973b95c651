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

"""Publish recorded steps again for a reader that missed them, on a separate thread."""

from collections.abc import Callable
import queue
import threading
import time

from spaars_ros.data.schema import Array
from spaars_ros.data.spool import Spool

CHUNK = 200
"""Records read at once; bounds the memory of a long replay."""


class StepReplayer:
    """
    Answer the requests of `learner/fetch` from the spool.

    :param publish: publishes one record (width,); called on the thread of this object
    :param rate: records per second
    """

    def __init__(self, spool: Spool, publish: Callable[[Array], None], *,
                 rate: float = 1000.0) -> None:
        self._spool = spool
        self._publish = publish
        self._gap = 1.0 / rate
        # Bounded: a reader repeats a request that was dropped.
        self._requests: queue.Queue[tuple[int, int] | None] = queue.Queue(maxsize=16)
        self._closing = threading.Event()
        self.error = ''
        self.sent = 0
        self._thread = threading.Thread(target=self._run, name='replayer', daemon=True)
        self._thread.start()

    def request(self, first: int, last: int) -> bool:
        """Request records `first` to `last`, inclusive; return False if too many requests wait."""
        if not 0 <= first <= last:
            return True
        try:
            self._requests.put_nowait((first, last))
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Stop the thread."""
        self._closing.set()
        try:
            self._requests.put_nowait(None)
        except queue.Full:
            pass
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._closing.is_set():
            request = self._requests.get()
            if request is None:
                return
            first, last = request
            last = min(last, self._spool.count - 1)
            while first <= last and not self._closing.is_set():
                try:
                    rows = self._spool.read(first, min(first + CHUNK - 1, last))
                except OSError as error:
                    self.error = str(error)
                    break
                for row in rows:
                    if self._closing.is_set():
                        return
                    self._publish(row)
                    self.sent += 1
                    time.sleep(self._gap)
                first += CHUNK
