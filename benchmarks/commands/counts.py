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

"""Numbers of an option of several values."""


def counts_of(text: str, option: str = '--robots') -> list[int]:
    """Return the numbers of an option, comma-separated; raises ValueError."""
    try:
        counts = [int(count) for count in text.split(',')]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or len(set(counts)) < len(counts):
        raise ValueError(f'{option} {text}: expected whole numbers from 1 on, comma-separated, '
                         'each once')
    return counts
