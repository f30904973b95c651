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

"""Scaling of a velocity by one factor, in its own direction, into the allowed set."""

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.safety.cartesian import Rows

TOLERANCE = 1e-9  # rad/s: a rounding error is no intervention
MIN_SCALE = 0.25  # below it joints are clamped one by one, or one joint at its limit stops the arm


def scale_into(asked: Array, low: Array, high: Array, rows: Rows | None) -> Array | None:
    """
    Return `asked` (d,) rad/s times the largest factor from MIN_SCALE to 1 that fits, or None.

    :param asked: (d,) rad/s
    :param low: (d,) rad/s; `high` too
    :param rows: half-spaces that the result has to satisfy, or None
    """
    moving = np.abs(asked) > TOLERANCE
    if not np.all((low[~moving] <= 0.0) & (high[~moving] >= 0.0)):
        return None
    one, two = low[moving] / asked[moving], high[moving] / asked[moving]
    least = float(np.max(np.minimum(one, two), initial=MIN_SCALE))
    most = float(np.min(np.maximum(one, two), initial=1.0))
    if rows is not None:
        along = rows.rows @ asked
        against = along < 0.0
        most = float(np.min(rows.least[against] / along[against], initial=most))
    if least > most:
        return None
    return np.asarray(np.minimum(np.maximum(asked * most, low), high))
