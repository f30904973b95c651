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

"""Check received policy bundles and load them into a runtime, on a separate thread."""

from collections.abc import Callable
from collections.abc import Sequence
import threading
from typing import TYPE_CHECKING
from typing import Union

from spaars_ros.control.shadow import SLOW
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import MAX_BYTES
from spaars_ros.policy.rehearsal import rehearse
from spaars_ros.policy.runtime import PolicyRuntime

if TYPE_CHECKING:
    from spaars_ros.policy.signing import Verifier

MAX_OFFER = 64 * 2**20
"""Maximum bytes of a bundle on a topic."""
MAX_JUMP = 10_000
"""Maximum versions that a bundle may be ahead; a learner makes one per some hundred steps."""


class BundleIntake:
    """
    Parse, check and warm up offered bundles.

    A newer offer replaces one that waits. Older versions than the newest are refused.

    :param check: returns a runtime for a bundle or raises BundleError
    :param period: control period in s
    :param version: version of the running bundle
    :param verifier: refuses bundles that its key did not sign; None accepts unsigned bundles
    :param taken_back: newest version that was rolled back, -1 for none; it and older ones are
        refused
    """

    def __init__(self, check: Callable[[Bundle], PolicyRuntime], *, period: float,
                 version: int, verifier: 'Verifier | None' = None, taken_back: int = -1
                 ) -> None:
        self._check = check
        self._taken_back = taken_back
        self._verifier = verifier
        self._period = period
        self._newest = version
        self._offer: Union[bytes, Sequence[int], None] = None
        self._ready: PolicyRuntime | None = None
        self._wake = threading.Event()
        self._closing = False
        self.accepted = 0
        """Bundles that passed the check; each is in its shadow trial or waits for it."""
        self.refused = 0
        self.refusals: list[str] = []
        """Reasons that are not reported yet, oldest first; the caller empties it."""
        self.last_refusal = ''
        self._thread = threading.Thread(target=self._run, name='intake', daemon=True)
        self._thread.start()

    def offer(self, data: Union[bytes, Sequence[int]]) -> None:
        """Offer the bytes of a bundle; return at once."""
        self._offer = data
        self._wake.set()

    def take(self) -> PolicyRuntime | None:
        """Return a checked runtime, once; None if there is none."""
        if self._ready is None:
            return None
        ready, self._ready = self._ready, None
        return ready

    def refuse(self, reason: str) -> None:
        """Count and report a refusal."""
        self.refused += 1
        self.last_refusal = reason
        self.refusals.append(reason)

    def close(self) -> None:
        """Stop the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._closing:
                return
            offer, self._offer = self._offer, None
            if offer is None:
                continue
            try:
                runtime = self._admit(offer)
            except BundleError as error:
                self.refuse(str(error))
                continue
            except Exception as error:  # the next bundle still needs this thread
                self.refuse(str(BundleError('check_failed', f'{type(error).__name__}: {error}')))
                continue
            if runtime is not None:
                self._newest = runtime.manifest.version
                self.accepted += 1
                self._ready = runtime

    def _admit(self, offer: Union[bytes, Sequence[int]]) -> PolicyRuntime | None:
        if len(offer) > MAX_BYTES:
            raise BundleError('too_large', f'{len(offer)} bytes, at most {MAX_BYTES}')
        data = bytes(offer)
        bundle = Bundle.from_bytes(data, self._verifier)
        version = bundle.manifest.version
        if version == self._newest:
            return None  # a latched topic delivers the same bundle again
        if version < self._newest:
            raise BundleError('old_version', f'{version}, running {self._newest}')
        if version - self._newest > MAX_JUMP:
            raise BundleError('version_jump', f'{version}, running {self._newest}: at most '
                              f'{MAX_JUMP} ahead, or no later one would be newer')
        if version <= self._taken_back:
            raise BundleError('taken_back',
                              f'version {version}: {self._taken_back} was taken back')
        runtime = self._check(bundle)
        runtime.data = data
        rehearse(runtime, bundle, SLOW * self._period)
        return runtime
