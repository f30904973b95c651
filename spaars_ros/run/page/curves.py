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

"""Learning curves over the episodes."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import viser
from viser import uplot

from spaars_ros.data.schema import Array

POINTS = 400
"""Maximum points of a curve; more episodes are averaged in groups."""
WINDOW = 20
"""Episodes of a moving average."""
HEIGHT = 150


def moving(values: Array) -> Array:
    """Return the mean (n,) of each value and up to `WINDOW` - 1 values before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - WINDOW, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def thin(values: Array) -> Array:
    """Return the values, averaged over adjacent ones to at most `POINTS`."""
    size = -(-len(values) // POINTS)
    return values if size <= 1 else np.array(
        [part.mean() for part in np.split(values, range(size, len(values), size))])


def series_of(episodes: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Return name -> curve (n,) of scored episodes; `episode` is the x axis."""
    def column(name: str) -> Array:
        return np.array([float(each.get(name, np.nan)) for each in episodes], dtype=np.float64)
    taken = (column('takeovers') > 0).astype(np.float64)
    curves = {'episode': column('episode'), 'return': column('return'),
              'success': moving(column('success')), 'cost': moving(column('cost')),
              'limit': column('limit'), 'lambda': np.nan_to_num(column('multiplier')),
              'raw': moving(column('raw_share')), 'takeover': moving(taken)}
    return {name: thin(values) for name, values in curves.items()}


PLOTS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ('Return of each episode', (('return', 'return', '#3c78e6'),)),
    (f'Success, raw actions, takeovers: shares, last {WINDOW}',
     (('success', 'success', '#14a050'), ('raw', 'raw actions', '#f08c14'),
      ('takeover', 'episodes with a takeover', '#8040c0'))),
    (f'Cost, last {WINDOW}, and its limit',
     (('cost', 'cost', '#3c78e6'), ('limit', 'limit', '#dc3c3c'))),
    ('Lambda', (('lambda', 'lambda', '#606060'),)),
)
"""(title, ((curve, label, colour), …)) of each plot."""


class Curves:
    """Plots of a run."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._count = -1
        self._plots: list[tuple[Any, tuple[str, ...]]] = []
        for title, lines in PLOTS:
            empty = np.zeros(1)
            handle = server.gui.add_uplot(
                data=(empty, *(empty for _ in lines)), title=title, height=HEIGHT,
                series=(uplot.Series(label='episode'),
                        *(uplot.Series(label=label, stroke=colour, width=2)
                          for _, label, colour in lines)),
                scales={'x': uplot.Scale(time=False)}, legend=uplot.Legend(show=True))
            self._plots.append((handle, tuple(name for name, _, _ in lines)))

    def show(self, episodes: Sequence[Mapping[str, Any]], limit: float | None = None) -> None:
        """
        Redraw the curves if the number of episodes has changed.

        :param limit: present cost limit, drawn over all episodes; None: the limit of each episode
        """
        if len(episodes) in (0, self._count):
            return
        self._count = len(episodes)
        curves = series_of(episodes)
        if limit is not None and np.isfinite(limit):
            curves['limit'][:] = limit
        for handle, names in self._plots:
            handle.data = (curves['episode'],
                           *(np.where(np.isfinite(curves[name]), curves[name], 0.0)
                             for name in names))
