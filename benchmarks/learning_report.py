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

"""Report of `spaars bench learning`: a table with intervals over seeds, and curves."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from scipy import stats

from spaars_ros.run.plots import BLUE
from spaars_ros.run.plots import GREEN
from spaars_ros.run.plots import INK
from spaars_ros.run.plots import ORANGE
from spaars_ros.run.plots import RED
from spaars_ros.run.plots import SOFT
from spaars_ros.run.plots import TEAL
from spaars_ros.run.plots import VIOLET

COLOURS = (BLUE, ORANGE, GREEN, RED, VIOLET, TEAL, INK, SOFT)


def interval(values: list[float]) -> tuple[float, float]:
    """
    Return the mean and the half width of its 95 % interval (Student's t over seeds).

    The half width is NaN for a single seed.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float('nan')
    spread = float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * spread


def groups(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return (task, method) -> its rows, in the order of the rows."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row['task'], row['method']), []).append(row)
    return found


def table(rows: list[dict[str, Any]], reference: str = 'IQL') -> Table:
    """Return the table of mean scores with intervals; `reference` is the name of the method."""
    shown = Table(title='score: mean and 95 % interval over n seeds', title_justify='left')
    for name in ('task', 'method', 'n', 'offline', 'final', 'success', f'steps to {reference}',
                 'cost'):
        shown.add_column(name, justify='left' if name in ('task', 'method') else 'right',
                         no_wrap=name in ('method', 'cost'))
    for (task, method), members in groups(rows).items():
        offline = interval([row['score_offline'] for row in members])
        final = interval([row['score'] for row in members])
        successes = [row['success'] for row in members if row['success'] is not None]
        reached = [str(row['steps_to_reference'] if row['steps_to_reference'] is not None
                       else 'never') for row in members]
        has_reference = members[0]['reference'] is not None
        limit = members[0]['cost_limit']
        cost = float(np.mean([row['cost'] for row in members]))
        shown.add_row(
            task, method, str(len(members)), _with_interval(offline), _with_interval(final),
            f'{np.mean(successes):.0%}' if successes else '-',
            ', '.join(reached) if has_reference else '-',
            f'{cost:.1f}' + (f' of {limit:g}' if limit is not None else ''))
    return shown


def _with_interval(value: tuple[float, float]) -> str:
    mean, half = value
    return f'{mean:.1f}' + (f' ± {half:.1f}' if np.isfinite(half) else '')


def read_off(curves: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
             ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Return common x (m,) and the values there (curves, m) of curves (x, y) with different x.

    Evaluations come at ends of episodes, so at different steps in each run. The curves are
    interpolated linearly at the x of the first curve that are before the end of the shortest one,
    and at this end; otherwise the last evaluation of a run would often not be shown.
    """
    end = min(x[-1] for x, _ in curves)
    places = np.append(curves[0][0][curves[0][0] < end], end)
    return places, np.stack([np.interp(places, x, y) for x, y in curves])


def band(members: list[dict[str, Any]]) -> tuple[NDArray[np.float64], ...]:
    """Return steps (m,), mean (m,) and half width (m,) over the seeds of one method."""
    steps, values = read_off([(np.array([point['steps'] for point in row['curve']], np.float64),
                               np.array([point['score'] for point in row['curve']], np.float64))
                              for row in members])
    halves = np.array([interval(list(column))[1] for column in values.T])
    return steps, values.mean(0), halves


def plot(rows: list[dict[str, Any]], task: str, path: Path,
         reference_name: str = 'fine-tuned IQL') -> None:
    """Write the curves of one task as PNG: mean over seeds, 95 % interval as a band."""
    figure = Figure(figsize=(7.0, 4.2), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    members_of = {method: members for (name, method), members in groups(rows).items()
                  if name == task}
    unit, reference = '', None
    for number, (method, members) in enumerate(members_of.items()):
        steps, mean, half = band(members)
        colour, unit = COLOURS[number % len(COLOURS)], members[0]['unit']
        reference = members[0]['reference']
        dashes = '-' if number < len(COLOURS) else '--'
        if len(steps) == 1:  # no online learning
            axes.axhline(mean[0], color=colour, lw=1.0, ls=':', label=method)
            continue
        axes.plot(steps, mean, dashes, color=colour, lw=1.6, label=method)
        if np.isfinite(half).all():
            axes.fill_between(steps, mean - half, mean + half, color=colour, alpha=0.15, lw=0)
    if reference is not None:
        axes.axhline(reference, color=SOFT, lw=0.8, ls='--')
        axes.annotate(f'{reference_name}, final', (1.0, reference), color=SOFT, fontsize=8,
                      xycoords=('axes fraction', 'data'), ha='right', va='bottom')
    axes.set(xlabel='environment steps',
             ylabel='D4RL-normalised score' if unit == 'normalised' else 'mean return',
             title=task)
    figure.legend(loc='outside lower center', frameon=False, fontsize=8, ncols=4)
    axes.spines[['top', 'right']].set_visible(False)
    partial = path.with_suffix('.part')
    figure.savefig(partial, format='png')
    partial.replace(path)
