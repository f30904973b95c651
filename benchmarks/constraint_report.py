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

"""Report of `spaars bench constraints`: a table, and plots of return and cost."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.learning_report import COLOURS
from benchmarks.learning_report import groups
from benchmarks.learning_report import interval
from benchmarks.learning_report import read_off
from spaars_ros.run.plots import RED
from spaars_ros.run.plots import SOFT

Row = dict[str, Any]
Array = NDArray[np.float64]

WINDOW = 10
"""Training episodes in the moving mean."""


def table(rows: list[Row]) -> Table:
    """Return the table of methods: means over seeds with 95 % intervals."""
    shown = Table(title='evaluation at the end; training cost and share of episodes within the '
                        'limit after warm-up', title_justify='left')
    for name in ('task', 'method', 'n', 'return', 'cost', 'training cost', 'within',
                 'updates to reference'):
        named = name in ('task', 'method')  # truncated, four of the method names look alike
        shown.add_column(name, justify='left' if named else 'right', no_wrap=named,
                         min_width=16 if name == 'method' else None)
    for (task, method), members in groups(rows).items():
        reached = [str(row['updates_to_reference'] if row['updates_to_reference'] is not None
                       else 'never') for row in members]
        limit = members[0]['cost_limit']
        online = members[0]['cost'] is not None
        shown.add_row(
            task, method, str(len(members)), _mean(members, 'return_final'),
            f'{_mean(members, "cost_final")} of {limit:g}',
            _mean(members, 'cost') if online else '-',
            f'{np.mean([row["within_limit"] for row in members]):.0%}' if online else '-',
            ', '.join(reached) if members[0]['reference'] is not None else '-')
    return shown


def _mean(members: list[Row], key: str) -> str:
    mean, half = interval([row[key] for row in members])
    return f'{mean:.1f}' + (f' ± {half:.1f}' if np.isfinite(half) else '')


def plot(rows: list[Row], task: str, path: Path) -> None:
    """Write a PNG: return of evaluations and cost of training episodes, against updates."""
    figure = Figure(figsize=(7.0, 6.4), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    members_of = {method: members for (name, method), members in groups(rows).items()
                  if name == task}
    for number, (method, members) in enumerate(members_of.items()):
        colour = COLOURS[number % len(COLOURS)]
        if members[0]['updates'] == 0:  # no online learning
            above.axhline(np.mean([row['return_final'] for row in members]), color=colour,
                          lw=1.0, ls=':', label=method)
            continue
        _draw(above, [_evaluations(row) for row in members], colour, method)
        _draw(below, [_episodes(row) for row in members], colour, None)
    first = next(iter(members_of.values()))[0]
    below.axhline(first['cost_limit'], color=RED, lw=1.0, ls='--')
    below.annotate('limit', (1.0, first['cost_limit']), color=RED, fontsize=8, ha='right',
                   va='bottom', xycoords=('axes fraction', 'data'))
    if first['reference'] is not None:
        above.axhline(first['reference'], color=SOFT, lw=0.8, ls='--')
        above.annotate('SAC-Lagrangian within the limit, final', (1.0, first['reference']),
                       color=SOFT, fontsize=8, ha='right', va='bottom',
                       xycoords=('axes fraction', 'data'))
    above.set(ylabel='return, evaluated', title=task)
    below.set(ylabel=f'cost per episode in training, mean of {WINDOW}', xlabel='online updates')
    below.set_ylim(bottom=0.0)
    figure.legend(loc='outside lower center', frameon=False, fontsize=8, ncols=4)
    for axes in (above, below):
        axes.spines[['top', 'right']].set_visible(False)
    partial = path.with_suffix('.part')
    figure.savefig(partial, format='png')
    partial.replace(path)


def _evaluations(row: Row) -> tuple[Array, Array]:
    curve = row['curve']
    return (np.asarray([point['updates'] for point in curve], dtype=np.float64),
            np.asarray([point['return_mean'] for point in curve], dtype=np.float64))


def _episodes(row: Row) -> tuple[Array, Array]:
    cost = np.asarray(row['episodes']['cost'], dtype=np.float64)
    sums = np.cumsum(np.r_[0.0, cost])
    last = np.arange(1, len(cost) + 1)
    begin = np.maximum(last - WINDOW, 0)
    return (np.asarray(row['episodes']['updates'], dtype=np.float64),
            (sums[last] - sums[begin]) / (last - begin))


def _draw(axes: Axes, curves: list[tuple[Array, Array]], colour: str, name: str | None) -> None:
    """Plot the mean over seeds, interpolated by `read_off`, and each seed as a thin line."""
    places, values = read_off(curves)
    axes.plot(places, values.mean(0), color=colour, lw=1.6, label=name)
    if len(curves) > 1:
        for x, y in curves:
            axes.plot(x, y, color=colour, lw=0.6, alpha=0.4)
