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

"""Replay with ten thousand to a million transitions: sampling time, memory, append time."""

import time
from typing import Any

import numpy as np

from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay

OBSERVATION, ACTION = 11, 3
"""Dimensions of Hopper."""
EPISODE = 1000
"""Steps per episode."""


def raw_bytes(transitions: int, observation: int, action: int, constraints: int = 0) -> int:
    """Return the bytes of plain arrays of s, a, r, c, s' in float32 and an end flag."""
    return transitions * (4 * (2 * observation + action + 1 + constraints) + 1)


def run(*, sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000), batch: int = 256,
        samples: int = 300) -> list[dict[str, Any]]:
    """
    Return a row per size.

    Keys: transitions, sample_us and sample_p99_us (per batch), bytes, memory_ratio (to plain
    arrays, see `raw_bytes`), append_ms (median) and append_max_ms (per episode of 1,000 steps,
    half of them while the replay fills, half while it overwrites its oldest), append_max_cpu_ms
    (maximum in processor time, without the effect of other processes), batch.
    """
    return [_row(size, batch, samples) for size in sizes]


def _row(size: int, batch: int, samples: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    replay = Replay(size, None, Normaliser(np.zeros(OBSERVATION), np.ones(OBSERVATION)),
                    action=ACTION, constraints=0, gamma=0.99, n_step=1, observation=OBSERVATION)
    steps = min(EPISODE, size)
    seen = rng.standard_normal((steps + 1, OBSERVATION))
    actions = rng.uniform(-1, 1, (steps, ACTION))
    rewards = rng.standard_normal(steps)
    appends, processor = [], []
    for _ in range(2 * (size // steps)):
        began, cpu = time.perf_counter(), time.thread_time()
        replay.add_episode(seen, actions, False, rewards=rewards)
        appends.append(time.perf_counter() - began)
        processor.append(time.thread_time() - cpu)
    times = []
    for _ in range(samples):
        began = time.perf_counter()
        replay.sample(batch, rng)
        times.append(time.perf_counter() - began)
    return {'transitions': size, 'batch': batch,
            'sample_us': 1e6 * float(np.median(times)),
            'sample_p99_us': 1e6 * float(np.quantile(times, 0.99)),
            'bytes': replay.nbytes,
            'memory_ratio': replay.nbytes / raw_bytes(size, OBSERVATION, ACTION),
            'append_ms': 1e3 * float(np.median(appends)), 'append_max_ms': 1e3 * max(appends),
            'append_max_cpu_ms': 1e3 * max(processor)}
