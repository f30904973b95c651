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

"""Overview plot of a demonstration set."""

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np

from spaars_ros.run.demonstration_set import DemonstrationSet
from spaars_ros.run.demonstration_set import table_of
from spaars_ros.run.plots import BLUE
from spaars_ros.run.plots import GREEN
from spaars_ros.run.plots import RED
from spaars_ros.run.plots import SOFT
from spaars_ros.run.plots import STYLE
from spaars_ros.run.plots import to_png
from spaars_ros.tasks.protocols import TopView

COLOURS = {'success': GREEN, 'failure': RED, 'discarded': SOFT, 'unlabelled': BLUE}


def picture_of(some: DemonstrationSet) -> bytes:
    """Return a PNG: paths coloured by outcome, episode lengths, costs, histogram of actions."""
    rows = table_of(some)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 6.2), layout='constrained')
        FigureCanvasAgg(figure)
        (paths, lengths), (costs, actions) = figure.subplots(2, 2)
        for row, part in zip(rows, some.slices):
            states = some.states(part)
            place = some.task.tip(states)[:, :2] if isinstance(some.task, TopView) \
                else states[:, :2]
            paths.plot(place[:, 0], place[:, 1], color=COLOURS[row['outcome']], alpha=0.6,
                       linewidth=1.0)
            paths.plot(*place[-1], '.', color=COLOURS[row['outcome']], markersize=5)
        names = list(map(str, some.data.attributes.get('observation_names', ['0', '1'])))
        seen = isinstance(some.task, TopView)
        paths.set_title('paths of the tip from above, m' if seen
                        else f'{names[0]} and {names[1]}', loc='left')
        if seen:
            paths.set_aspect('equal', adjustable='datalim')
        numbers = [row['episode'] for row in rows]
        colours = [COLOURS[row['outcome']] for row in rows]
        lengths.bar(numbers, [row['seconds'] for row in rows], color=colours)
        lengths.set_title('length of each episode, s', loc='left')
        if rows[0]['cost'] is not None:
            costs.bar(numbers, [row['cost'] for row in rows], color=colours)
            costs.set_title('cost of each episode', loc='left')
        else:
            costs.bar(numbers, [row['steps'] for row in rows], color=colours)
            costs.set_title('steps of each episode', loc='left')
        actions.hist(np.asarray(some.data.actions).ravel(), bins=41, range=(-1, 1), color=BLUE)
        actions.set_title('actions, all values', loc='left')
        for outcome in sorted({row['outcome'] for row in rows}):
            paths.plot([], [], color=COLOURS[outcome], label=outcome)
        paths.legend(frameon=False, fontsize=8)
        return to_png(figure)
