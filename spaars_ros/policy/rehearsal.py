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


"""Rehearsal of a policy's decision in single states, before it may move the arm."""

import time

import numpy as np

from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.runtime import PolicyRuntime

TRIALS = 10


def rehearse(runtime: PolicyRuntime, bundle: Bundle, limit: float) -> None:
    """
    Decide in a golden state several times, as in a tick, and refuse what fails or is too slow.

    The golden outputs are computed for all states at once: a graph may do that and no single
    state. The first runs allocate memory, which must not happen in a tick.

    :param limit: s, of the fastest decision
    :raises BundleError: cannot_decide or too_slow
    """
    observation = np.asarray(bundle.golden_outputs['observation'][0], dtype=np.float64)
    fastest = np.inf
    for _ in range(TRIALS):
        begin = time.perf_counter()
        try:
            runtime.decide(observation)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises several unrelated kinds
            raise BundleError('cannot_decide', f'in one state: {error}'.splitlines()[0]) from None
        fastest = min(fastest, time.perf_counter() - begin)
        if fastest > TRIALS * limit:  # it will not become fast enough
            break
    if fastest > limit:
        raise BundleError('too_slow', f'{fastest * 1e3:.1f} ms a decision, at most '
                                      f'{limit * 1e3:.1f}')
