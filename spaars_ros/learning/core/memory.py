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

"""How the process handles memory that it frees."""

import ctypes
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""
KEPT = 1 << 30
"""Bytes that stay with the process."""
LARGEST = 32 << 20
"""Bytes of a block up to which it is taken from what was kept; the most that glibc allows."""


@cache
def keep_freed_memory() -> None:
    """
    Let the process keep what it frees, where the C library is glibc.

    An update makes and frees megabytes of activations. Handed back to the system, each page has
    to be made again: 1,100 faults an update of ten heads, which then took 1.7 times as long.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(MMAP_THRESHOLD, LARGEST)
