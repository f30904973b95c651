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

"""Setting of the C library's allocator: keep freed memory in the process."""

import ctypes
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
KEPT = 1 << 30
"""Freed bytes that stay with the process."""
LARGEST = 32 << 20
"""Maximum bytes of a block that is taken from the kept memory; the maximum that glibc allows."""


@cache
def keep_freed_memory() -> None:
    """
    Keep freed memory in the process, if the C library is glibc.

    An update allocates and frees megabytes of activations. Memory returned to the system costs
    page faults when it is allocated again: 1,100 per update of ten heads, which then took 1.7
    times as long.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(MMAP_THRESHOLD, LARGEST)
