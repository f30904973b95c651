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

"""Plots of a run: one quantity per figure, labels on the lines, for light and dark pages."""

from collections.abc import Sequence
from io import BytesIO
from io import StringIO
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patches import FancyBboxPatch
from matplotlib.patches import Patch
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import Zone

WINDOW = 20
"""Episodes of the moving mean."""

INK, SOFT, GRID, PAPER = '#1a1c1f', '#6b7078', '#e3e5e8', '#fefefe'
BLUE, GREEN, RED, VIOLET, ORANGE, TEAL = (
    '#2a6fbb', '#2e8b57', '#c8452f', '#7a55b5', '#d9822b', '#1f8a8a')
NAMES = {INK: 'ink', SOFT: 'soft', GRID: 'grid', PAPER: 'paper', BLUE: 'blue', GREEN: 'green',
         RED: 'red', VIOLET: 'violet', ORANGE: 'orange', TEAL: 'teal'}
"""Colour -> CSS variable that replaces it in an SVG, so that a page can be dark."""

STYLE: dict[Any, Any] = {
    'font.size': 9.5, 'font.sans-serif': ['DejaVu Sans'], 'text.color': INK,
    'axes.edgecolor': SOFT, 'axes.labelcolor': SOFT, 'axes.linewidth': 0.7,
    'axes.facecolor': PAPER, 'figure.facecolor': PAPER, 'axes.spines.top': False,
    'axes.spines.right': False, 'axes.grid': True, 'axes.axisbelow': True, 'grid.color': GRID,
    'grid.linewidth': 0.7, 'xtick.color': SOFT, 'ytick.color': SOFT, 'xtick.major.size': 0,
    'ytick.major.size': 0, 'xtick.labelcolor': SOFT, 'ytick.labelcolor': SOFT,
    'svg.fonttype': 'none', 'svg.hashsalt': 'spaars_ros', 'path.simplify': True,
}


def moving_mean(values: Sequence[float] | Array, window: int = WINDOW) -> Array:
    """Return the mean of the last `window` values at each index (m,), ignoring non-finite ones."""
    array = np.asarray(values, dtype=np.float64)
    known = np.isfinite(array)
    total = np.cumsum(np.r_[0.0, np.where(known, array, 0.0)])
    count = np.cumsum(np.r_[0, known])
    last = np.arange(1, len(array) + 1)
    first = np.maximum(last - window, 0)
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.asarray((total[last] - total[first]) / (count[last] - count[first]))


def _figure(width: float = 5.4, height: float = 2.9) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _label(axes: Axes, x: float, y: float, text: str, colour: str, dy: float = 0) -> None:
    """Write the name of a line at its right end."""
    axes.annotate(text, (x, y), xytext=(5, dy), textcoords='offset points', color=colour,
                  va='center', ha='left', annotation_clip=False, fontsize=9)


def _series(episodes: Sequence[dict[str, Any]], key: str, scale: float = 1.0) -> Array:
    return scale * np.asarray([np.nan if e.get(key) is None else float(e[key])
                               for e in episodes])


def curve(episodes: Sequence[dict[str, Any]], key: str, axis: str, colour: str, *,
          scale: float = 1.0, digits: str = '.1f', mean: bool = True, bottom: float | None = None,
          top: float | None = None, level: tuple[float, str] | None = None,
          limit: bool = False) -> Figure:
    """
    Return a figure of one quantity over episodes: episodes as faint dots, moving mean as a line.

    :param key: key of the quantity in an episode
    :param axis: label of the y axis, with unit
    :param scale: factor from the value to the unit of the axis
    :param digits: format of the labelled values
    :param mean: False: draw the values themselves as a line
    :param bottom: lower end of the y axis, None: automatic
    :param top: upper end of the y axis, None: automatic
    :param level: dashed horizontal line (value, name), such as the policy before the run
    :param limit: draw the episodes' `limit`
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure()
        x, y = _series(episodes, 'episode'), _series(episodes, key, scale)
        ends = []
        if len(x):
            if mean:
                smooth = moving_mean(y)
                axes.plot(x, y, '.', color=colour, alpha=0.38, markersize=5.0,
                          markeredgewidth=0, clip_on=False, zorder=2)
                begin = min(WINDOW // 2, max(len(x) - 1, 0) // 2)
                axes.plot(x[begin:], smooth[begin:], color=colour, linewidth=2.0, zorder=3)
                ends.append((smooth[-1], f'{smooth[-1]:{digits}}', colour))
            else:
                axes.plot(x, y, color=colour, linewidth=1.6, zorder=3)
                ends.append((y[-1], f'{y[-1]:{digits}}', colour))
            if limit:
                bound = _series(episodes, 'limit')
                axes.plot(x, bound, color=RED, linewidth=1.2, linestyle=(0, (4, 2)), zorder=3)
                ends.append((bound[-1], f'limit {bound[-1]:{digits}}', RED))
            if level is not None and np.isfinite(level[0]):
                axes.axhline(level[0], color=SOFT, linewidth=1.0, linestyle=(0, (4, 2)))
                ends.append((level[0], level[1], SOFT))
        else:
            axes.text(0.5, 0.5, 'no finished episode', transform=axes.transAxes, ha='center',
                      color=SOFT)
        axes.set_xlabel('episode')
        axes.set_title(axis, loc='left', fontsize=9.5, color=SOFT)
        axes.grid(axis='x', visible=False)
        _limits(axes, y, bottom, top, [value for value, _, _ in ends])
        if len(x):
            axes.set_xlim(x[0] - 0.5, x[-1] + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        _place(axes, ends)
        return figure


def _limits(axes: Axes, y: Array, bottom: float | None, top: float | None,
            others: Sequence[float]) -> None:
    known = np.r_[y[np.isfinite(y)], [v for v in others if np.isfinite(v)]]
    if len(known):
        low, high = float(known.min()), float(known.max())
        room = 0.06 * max(high - low, 1e-9)
        axes.set_ylim(low - room if bottom is None else bottom,
                      max(high + room, (bottom or 0.0) + 1e-9) if top is None else top)


def _place(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Write the names at the right ends of the lines, shifted where they would overlap."""
    low, high = axes.get_ylim()
    points = 175.0 / max(high - low, 1e-12)  # the axes are about 175 points high
    previous = -1e9
    for value, text, colour in sorted(e for e in ends if np.isfinite(e[0])):
        at = (value - low) * points
        shift = max(0.0, previous + 12.0 - at)
        previous = at + shift
        _label(axes, axes.get_xlim()[1], value, text, colour, shift)


def _outline(zone: Zone, grow: float, **style: Any) -> Patch:
    """Return the outline of a zone seen from above, enlarged by `grow` m."""
    x, y = zone.centre[:2]
    if zone.shape == 'box':
        w, h = zone.size[:2]
        if not grow:
            return Rectangle((x - w / 2, y - h / 2), w, h, **style)
        return FancyBboxPatch((x - w / 2, y - h / 2), w, h,
                              boxstyle=f'round,pad={grow},rounding_size={grow}', **style)
    return Circle((x, y), zone.radius + grow, **style)


def _extent(paths: Sequence[dict[str, Any]], robot: Robot) -> tuple[float, float, float, float]:
    points = [np.asarray(p['tip'])[:, :2] for p in paths] + [
        np.asarray(p['target'])[None, :2] for p in paths]
    for zone in robot.keep_out:
        reach = (max(zone.size[:2]) / 2 if zone.shape == 'box' else zone.radius) \
            + robot.zone_margin
        points.append(np.asarray(zone.centre[:2]) + reach * np.asarray([[-1, -1], [1, 1]]))
    every = np.concatenate(points) if points else np.asarray([[0.0, 0.0], [1.0, 1.0]])
    every = every[np.isfinite(every).all(axis=1)]
    low, high = every.min(axis=0) - 0.03, every.max(axis=0) + 0.03
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def top_view(paths: Sequence[dict[str, Any]], robot: Robot,
             frame: Sequence[dict[str, Any]] | None = None) -> Figure:
    """
    Return a top view of tip paths with keep-out zones, targets and marked raw-action states.

    :param paths: dicts of tip (T, 3) m, raw (T,) bool, target (3,) m
    :param robot: its keep-out zones are drawn, with `zone_margin`
    :param frame: paths that determine the axes, so that two figures share them; None: `paths`
    """
    with matplotlib.rc_context(STYLE):
        left, right, low, high = _extent(frame if frame is not None else paths, robot)
        width = 5.4
        figure, axes = _figure(width, min(max(width * (high - low) / (right - left), 3.2), 6.0))
        for zone in robot.keep_out:
            axes.add_patch(_outline(zone, robot.zone_margin, facecolor='none', edgecolor=RED,
                                    linewidth=1.0, linestyle=(0, (3, 2)), zorder=3))
            axes.add_patch(_outline(zone, 0.0, facecolor=RED, edgecolor='none', alpha=0.25,
                                    zorder=1))
            axes.text(*zone.centre[:2], zone.name, color=RED, ha='center', va='center',
                      fontsize=9, zorder=6)
        thin = float(np.clip(12.0 / max(len(paths), 1), 0.25, 0.8))
        for path in paths:
            tip, raw = np.asarray(path['tip']), np.asarray(path['raw'], dtype=bool)
            axes.plot(tip[:, 0], tip[:, 1], color=BLUE, linewidth=0.9, alpha=thin, zorder=2)
            axes.plot(tip[raw, 0], tip[raw, 1], '.', color=ORANGE, markersize=4.0,
                      markeredgewidth=0, alpha=max(thin, 0.6), zorder=4)
            axes.plot(*np.asarray(path['target'])[:2], marker='+', color=INK, markersize=6,
                      markeredgewidth=1.1, zorder=5)
        if not paths:
            axes.text(0.5, 0.92, 'no path recorded', transform=axes.transAxes, ha='center',
                      color=SOFT)
        axes.set_xlim(left, right)
        axes.set_ylim(low, high)
        axes.set_aspect('equal')
        axes.set_xlabel('x, m (forward)')
        axes.set_ylabel('y, m (left)')
        return figure


def to_png(figure: Figure, dpi: int = 160) -> bytes:
    """Return a figure as a PNG with `dpi` pixels per inch."""
    buffer = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format='png', dpi=dpi)
    return buffer.getvalue()


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element with CSS variables as colours and `name` in its ids."""
    buffer = StringIO()
    with matplotlib.rc_context({**STYLE, 'svg.hashsalt': name}):
        figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
    text = buffer.getvalue()
    text = re.sub(r'<metadata>.*?</metadata>', '', text[text.index('<svg'):], flags=re.DOTALL)
    text = re.sub(r'\b(id="|url\(#|href="#)', rf'\g<1>{name}-', text)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
                  r'<svg viewBox="\1" xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", 'inherit', text)
    for colour, variable in NAMES.items():
        text = text.replace(colour, f'var(--{variable})')
    return text
