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

"""Report of a run: summary.json, plots as PNG, and one HTML page that needs no network."""

from collections.abc import Mapping
from collections.abc import Sequence
from html import escape
import json
import math
import os
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from spaars_ros.data.files import write_whole
from spaars_ros.robot.config import Robot
from spaars_ros.run import plots
from spaars_ros.run.metrics import value_of
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.protocols import TopView
from spaars_ros.tasks.scoring import episodes_from_steps
from spaars_ros.tasks.scoring import paths_from_steps
from spaars_ros.tasks.spec import MetricSpec

__all__ = ['episodes_from_steps', 'paths_from_steps', 'write_report', 'write_summary']

_CSS = """
:root{color-scheme:light dark;--ink:#1a1c1f;--soft:#5f656d;--grid:#e3e5e8;--paper:#fefefe;
--page:#f5f6f7;--blue:#2a6fbb;--green:#2e8b57;--red:#c0402b;--violet:#7a55b5;--orange:#d9822b;
--teal:#1f8a8a}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa1aa;--grid:#30343a;
--paper:#1b1e22;--page:#131518;--blue:#6aa9ea;--green:#5fc08a;--red:#f0806c;--violet:#b39aea;
--orange:#f0a85c;--teal:#55c2c2}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}
main{max-width:1120px;margin:0 auto;padding:2rem 1.1rem 3rem}
h1{font-size:1.55rem;line-height:1.25;margin:0 0 .2rem;letter-spacing:-.01em}
h2{font-size:1.08rem;margin:2.2rem 0 .7rem}
p{margin:.25rem 0;max-width:46rem}.soft,figcaption,th{color:var(--soft)}
.tiles,.plots{display:grid;gap:.8rem;margin:1.2rem 0}
.tiles{grid-template-columns:repeat(auto-fit,minmax(165px,1fr))}
.plots{grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.tile,figure{background:var(--paper);border:1px solid var(--grid);border-radius:10px;margin:0;
padding:.8rem 1rem}
.tile b{display:block;font-size:1.3rem;white-space:nowrap;
font-weight:600;letter-spacing:-.02em;
font-variant-numeric:tabular-nums;line-height:1.3}
.tile span{font-size:.85rem;color:var(--soft)}
.tile i{font-style:normal;font-size:.82em;font-weight:400;color:var(--soft)}
figcaption{font-size:.88rem;padding-top:.3rem}
figcaption strong{color:var(--ink);font-weight:600}
svg{display:block;width:100%;height:auto;font-family:inherit}
.over{color:var(--red)}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{text-align:left;font-weight:400;padding:.28rem .8rem .28rem 0;vertical-align:top;
border-top:1px solid var(--grid);overflow-wrap:anywhere}
td{font-variant-numeric:tabular-nums}
th{width:16rem}
@media (max-width:600px){th{width:45%}.tile b{font-size:1.15rem}.tiles{gap:.5rem;
grid-template-columns:1fr 1fr}.tile{padding:.6rem .7rem}main{padding-top:1.2rem}}
"""


def _plain(value: Any) -> Any:
    """Return a value for strict JSON: numpy types converted, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_summary(run_dir: str | os.PathLike[str], summary: Mapping[str, Any]) -> None:
    """Write `summary.json` atomically, NaN and infinity as null; raises OSError."""
    text = json.dumps(_plain(summary), indent=2, allow_nan=False)
    write_whole(Path(run_dir) / 'summary.json', text.encode() + b'\n')


def _number(summary: Mapping[str, Any], key: str) -> float:
    value = summary.get(key)
    return float(value) if isinstance(value, (int, float, np.number)) else math.nan


def _of_metric(episodes: Sequence[dict[str, Any]], spec: MetricSpec) -> list[dict[str, Any]]:
    return [{**each, spec.name: value_of(spec, each)} for each in episodes]


def _metric(summary: Mapping[str, Any], spec: MetricSpec, when: str) -> float:
    return _number(summary.get('metrics', {}).get(spec.name, {}), when)


def _figures(summary: Mapping[str, Any], episodes: Sequence[dict[str, Any]],
             before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]],
             robot: Robot, metrics: Sequence[MetricSpec], paths: bool
             ) -> dict[str, tuple[Figure, str, str]]:
    """Return name -> (figure, title, caption)."""
    both = [*before, *after]
    p, each = plots, f'Each episode faint, mean of the last {plots.WINDOW} bold.'
    return {
        'success': (
            p.curve(episodes, 'success', 'success, % of episodes', p.GREEN, scale=100.0,
                    digits='.0f', bottom=-3.0, top=103.0,
                    level=(100.0 * _number(summary, 'success_before'), 'pretrained')),
            'Success', f'{each} With exploration noise; the pretrained policy was measured ' + (
                'so, too, on its own first episodes.'
                if summary.get('measured_on') == 'robot' else 'without.')),
        **{spec.name: (
            p.curve(_of_metric(episodes, spec), spec.name,
                    f'{spec.label}, {spec.shown_unit}' if spec.shown_unit else spec.label, p.TEAL,
                    scale=spec.scale,
                    level=(spec.scale * _metric(summary, spec, 'before'), 'pretrained')),
            f'{spec.label[:1].upper()}{spec.label[1:]}', each) for spec in metrics},
        'return': (
            p.curve(episodes, 'return', 'return, sum of rewards', p.BLUE), 'Return', each),
        'cost': (
            p.curve(episodes, 'cost', 'cost per episode', p.VIOLET, bottom=0.0, limit=True),
            'Cost against its limit', f'{each} Dashed: the limit.'),
        'multiplier': (
            p.curve(episodes, 'multiplier', 'λ, no unit', p.VIOLET, digits='.2f', mean=False,
                    bottom=0.0),
            'Multiplier λ', 'How much the cost weighs against the return; 0 where the cost '
                            'stays under its limit.'),
        'gate': (
            p.curve(episodes, 'raw_share', 'raw actions, % of ticks', p.ORANGE, scale=100.0,
                    digits='.0f', bottom=-3.0, top=103.0),
            'Share of raw actions', f'{each} 0 % is the latent phase.'),
        **({'takeovers': (
            p.curve(episodes, 'takeovers', 'takeovers per episode', p.RED, bottom=0.0),
            'Takeovers by a person', f'{each} A constraint with the term takeover limits them.'),
            'human': (
            p.curve(episodes, 'human_share', "a person's actions, % of ticks", p.RED, scale=100.0,
                    digits='.0f', bottom=-3.0, top=103.0),
            'Share of a person', each)}
           if any(episode.get('takeovers') for episode in episodes) else {}),
        **({'out_of_reach': (
            p.curve(episodes, 'out_of_reach', 'distance from what the decoder makes, action units',
                    p.ORANGE, digits='.2f', bottom=0.0),
            "A person's actions and the latent's decoder",
            'What lies above 0 only raw actions can do; episodes in which a person acted.')}
           if any(episode.get('out_of_reach') is not None for episode in episodes) else {}),
        **({'paths_before': (
            p.top_view(before, robot, both), 'Paths before', _path_caption(before, robot)),
            'paths_after': (
            p.top_view(after, robot, both), 'Paths after', _path_caption(after, robot))}
           if paths else {}),
    }


def _path_caption(paths: Sequence[dict[str, Any]], robot: Robot) -> str:
    raw = sum(int(np.sum(path['raw'])) for path in paths)
    return (f'{len(paths)} episodes seen from above: tip paths blue, raw-action states orange '
            f'({raw}), targets +, keep-out zones red with their margin of '
            f'{1000 * robot.zone_margin:.0f} mm dashed.')


def _tile(value: str, label: str, over: bool = False) -> str:
    return (f'<div class="tile"><b{" class=over" if over else ""}>{value}</b>'
            f'<span>{escape(label)}</span></div>')


def _change(before: float, after: float, scale: float, unit: str, digits: str) -> str:
    def text(value: float) -> str:
        return f'{scale * value:{digits}}' if math.isfinite(value) else '–'
    return f'<i>{text(before)} →</i> {text(after)} {unit}'


def _tiles(summary: Mapping[str, Any], metrics: Sequence[MetricSpec]) -> str:
    cost, limit = _number(summary, 'cost_last_fifth'), _number(summary, 'cost_limit')
    seconds = _number(summary, 'wall_seconds')
    wall = f'{int(seconds // 60)} min {int(seconds % 60)} s' if math.isfinite(seconds) else '–'

    def count(key: str) -> str:
        value = _number(summary, key)
        return f'{value:,.0f}'.replace(',', ' ') if math.isfinite(value) else '–'
    tiles = [
        _tile(_change(_number(summary, 'success_before'), _number(summary, 'success_after'),
                      100.0, '%', '.0f'), 'success, before and after'),
        *(_tile(_change(_metric(summary, spec, 'before'), _metric(summary, spec, 'after'),
                        spec.scale, spec.shown_unit, '.1f'), f'{spec.label}, before and after')
          for spec in metrics),
        _tile(f'{cost:.2f} <i>of {limit:g}</i>' if math.isfinite(cost) else '–',
              'mean episode cost, last fifth', over=cost > limit),
        _tile(count('online_steps'), 'online steps'),
        _tile(count('lost_ticks'), 'lost ticks', over=_number(summary, 'lost_ticks') > 0),
        _tile(wall, 'wall time'),
    ]
    return '<div class="tiles">' + ''.join(tiles) + '</div>'


def _table(summary: Mapping[str, Any]) -> str:
    rows = []
    for key, value in _plain(summary).items():
        if isinstance(value, float):
            text = f'{value:.6g}'
        else:
            text = value if isinstance(value, str) else json.dumps(value)
        rows.append(f'<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>')
    return '<table>' + ''.join(rows) + '</table>'


def _page(summary: Mapping[str, Any], figures: Mapping[str, tuple[Figure, str, str]],
          robot: Robot, task: Task, count: int) -> str:
    title = f'{robot.name}, {task.name}: {summary.get("algorithm", "spaars")} fine-tuning'
    blocks = {
        name: f'<figure>{plots.to_svg(figure, name)}<figcaption><strong>{escape(head)}.</strong> '
              f'{escape(caption)}</figcaption></figure>'
        for name, (figure, head, caption) in figures.items()}
    curves = ''.join(block for name, block in blocks.items() if not name.startswith('paths'))
    views = ''.join(block for name, block in blocks.items() if name.startswith('paths'))
    seed = f', seed {summary["seed"]}' if 'seed' in summary else ''
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><style>{_CSS}</style></head><body><main>'
        f'<h1>{escape(title)}</h1><p class="soft">{count} episodes{escape(str(seed))}</p>'
        f'{_tiles(summary, task.spec.metrics)}<h2>Over the run</h2>'
        f'<div class="plots">{curves}</div>'
        + (f'<h2>Seen from above</h2><div class="plots">{views}</div>' if views else '') +
        f'<h2>Summary</h2><figure>{_table(summary)}</figure></main></body></html>\n')


def write_report(run_dir: str | os.PathLike[str], summary: Mapping[str, Any],
                 episodes: Sequence[dict[str, Any]], paths_before: Sequence[dict[str, Any]],
                 paths_after: Sequence[dict[str, Any]], task: Task) -> Path:
    """
    Write `summary.json`, `plots/*.png` and `report.html` into the run folder.

    :param summary: content of summary.json; success as a fraction, metrics in their units
    :param episodes: dicts from `episodes_from_steps`; may be empty
    :param paths_before: dicts of tip (T, 3) m, raw (T,) bool, target (3,) m; may be empty
    :param paths_after: likewise
    :return: path of the page
    :raises OSError: a file cannot be written; each file is replaced atomically
    """
    folder, robot = Path(run_dir), task.robot
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'plots').mkdir(exist_ok=True)
    write_summary(folder, summary)
    figures = _figures(summary, episodes, paths_before, paths_after, robot, task.spec.metrics,
                       isinstance(task, TopView))
    for name, (figure, _, _) in figures.items():
        write_whole(folder / 'plots' / f'{name}.png', plots.to_png(figure))
    page = folder / 'report.html'
    write_whole(page, _page(summary, figures, robot, task, len(episodes)).encode())
    return page
