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

"""Terminal view of a run: a live panel, or one plain line per episode."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
import os
import re
import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from spaars_ros.ros.diagnostics import printable
from spaars_ros.run.metrics import value_of
from spaars_ros.tasks.spec import MetricSpec

LONGEST_LINE = 4000
WINDOW = 20
"""Episodes of a moving average."""
REFRESH = 0.25
"""s between redraws; each costs the conductor about 3 ms."""
BARS = '▁▂▃▄▅▆▇█'
STOPPED = 'robot stopped: '
"""Prefix of the message of a stop."""
TREND = 24
"""Columns of a trend line."""

PHASES = {
    'starting': 'bringing the nodes up',
    'warm-up': 'pretrained policy, critics learn, actors rest',
    'latent': 'explores in the latent space',
    'gated': 'raw actions where the gate prefers them',
    'finishing': 'learner works off what it owes',
    'stopping': 'taking the nodes down',
}


@dataclass
class LiveState:
    """Content of the view; the conductor writes it."""

    title: str = 'finetune'
    subtitle: str = ''
    phase: str = 'starting'
    episodes_total: int = 0
    horizon: int = 1
    step: int = 0
    first_step: int = 0
    """Number of steps recorded before this start of a resumed run."""
    started: float = field(default_factory=time.monotonic)
    episodes: list[dict[str, Any]] = field(default_factory=list)
    """One scored dict per episode, from `episodes_from_steps`."""
    limit: float = 0.0
    multiplier: float = 0.0
    bundle_version: int = 0
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0
    lost_ticks: int = 0
    interventions: int = 0
    updates: int = 0
    owed: int = 0
    paused: bool = False
    """Whether learning is paused, so that the learner only records."""
    success_before: float | None = None
    metrics: Sequence[MetricSpec] = ()
    """Metrics that the task reports."""
    message: str = ''
    """Newest message that needs attention."""

    def recent(self, name: str) -> list[float]:
        """Return a field of each of the last `WINDOW` episodes."""
        return [float(episode[name]) for episode in self.episodes[-WINDOW:]]

    def seconds_left(self) -> float | None:
        """Return the estimated time left in s; None without an episode limit or at the start."""
        done = self.step - self.first_step
        if not self.episodes_total or done < self.horizon:
            return None
        pace = (time.monotonic() - self.started) / done
        return max(self.episodes_total * self.horizon - self.step, 0) * pace


def mean(values: Sequence[float]) -> float:
    """Return the mean, 0 for an empty sequence."""
    return sum(values) / len(values) if values else 0.0


def trend(values: Sequence[float], low: float | None = None, high: float | None = None,
          width: int = TREND) -> str:
    """
    Return values as a line of bars, averaged to at most `width` columns.

    :param low: value of the lowest bar, None: the minimum
    :param high: value of the highest bar, None: the maximum
    """
    if not values:
        return ''
    size = -(-len(values) // width)
    parts = [mean(values[start:start + size]) for start in range(0, len(values), size)]
    low = min(parts) if low is None else low
    high = max(parts) if high is None else high
    span = (high - low) or 1.0
    return ''.join(BARS[round(min(max((part - low) / span, 0.0), 1.0) * (len(BARS) - 1))]
                   for part in parts)


def duration(seconds: float | None) -> str:
    """Return a time in s as readable text, '...' for None."""
    if seconds is None:
        return '...'
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'


def learner_line(state: LiveState) -> str:
    """Return the number of updates that the learner has done and still owes."""
    return f'{state.updates} updates, ' + ('PAUSED' if state.paused else f'{state.owed} owed')


def plain_line(state: LiveState) -> str:
    """Return the last episode as one line of text."""
    episode = state.episodes[-1]
    total = f'/{state.episodes_total}' if state.episodes_total else ''
    metrics = ''.join(f'{spec.label} {spec.text(value_of(spec, episode))}  '
                      for spec in state.metrics)
    return (f'episode {episode["episode"] + 1}{total}  return {episode["return"]:.1f}  '
            f'success {mean(state.recent("success")):.0%}  '
            f'{metrics}cost {episode["cost"]:.1f} of {state.limit:g}  '
            f'lambda {state.multiplier:.3f}  '
            f'raw {episode["raw_share"]:.0%}  filter {episode["interventions"]:.0f}  '
            f'latency {state.latency_p50_ms:.1f} ms  bundle {state.bundle_version}  '
            f'{state.phase}{", learning paused" if state.paused else ""}  '
            f'left {duration(state.seconds_left())}')


def panel(state: LiveState) -> Panel:
    """Return the complete panel, for 80 columns or more."""
    done = len(state.episodes)
    total = state.episodes_total
    head = Table.grid(padding=(0, 1))
    head.add_column(width=11, style='dim')
    head.add_column()
    bar = Table.grid(padding=(0, 1))
    bar.add_row(Text(f'{done} of {total}' if total else str(done), style='bold'),
                ProgressBar(total=max(total, 1), completed=done, width=TREND,
                            complete_style='cyan', finished_style='green'),
                Text(f'{duration(state.seconds_left())} left' if total else '', style='bold'))
    head.add_row('episode', bar)
    phase = Text(state.phase, style='bold cyan')
    head.add_row('phase', phase.append(f'  {PHASES.get(state.phase, "")}', style='not bold dim'))
    body = Table.grid(padding=(0, 1))
    body.add_column(width=11, style='dim')
    body.add_column(width=9, justify='right', style='bold')
    body.add_column(width=TREND, style='cyan')
    body.add_column(style='dim', no_wrap=True)
    rows = state.episodes
    last = rows[-1] if rows else None

    def series(name: str, low: float | None = None, high: float | None = None) -> str:
        return trend([float(row[name]) for row in rows], low, high)

    def value(name: str, form: str, scale: float = 1.0) -> str:
        return format(scale * float(last[name]), form) if last else '-'

    body.add_row('return', value('return', '.1f'), series('return'),
                 f'last {WINDOW}: {mean(state.recent("return")):.1f}')
    before = '' if state.success_before is None \
        else f'pretrained: {state.success_before:.0%}'
    body.add_row('success', f'{mean(state.recent("success")):.0%}' if rows else '-',
                 series('success', 0, 1), before)
    for spec in state.metrics:
        values = [value_of(spec, row) for row in rows]
        known = [each for each in values[-WINDOW:] if each == each]
        body.add_row(spec.label, spec.text(values[-1]) if values else '-',
                     trend([each for each in values if each == each]),
                     f'last {WINDOW}: {spec.text(mean(known))}' if known else '')
    cost = mean(state.recent('cost'))
    over = cost > state.limit and bool(rows)
    body.add_row('cost', Text(value('cost', '.1f'), style='bold red' if over else 'bold'),
                 series('cost', 0.0),
                 Text(f'last {WINDOW}: {cost:.1f}, limit {state.limit:g}',
                      style='red' if over else 'dim'))
    body.add_row('λ', f'{state.multiplier:.3f}', series('multiplier', 0.0), '')
    body.add_row('raw actions', value('raw_share', '.0%'), series('raw_share', 0, 1), '')
    body.add_row('filter', value('interventions', '.0f'), series('interventions', 0.0),
                 f'interventions, {state.interventions} in all')
    foot = Table.grid(padding=(0, 1))
    foot.add_column(width=11, style='dim')
    foot.add_column(width=33, no_wrap=True)
    foot.add_column(style='dim')
    foot.add_column(no_wrap=True)
    foot.add_row('loop', f'{state.latency_p50_ms:.1f} ms, p99 {state.latency_p99_ms:.1f} ms',
                 'lost ticks', str(state.lost_ticks))
    foot.add_row('learner', learner_line(state), 'bundle', f'version {state.bundle_version}')
    foot.add_row('steps', f'{state.step} of {total * state.horizon}' if total
                 else str(state.step), '', '')
    parts: list[Any] = [head, Text(), body, Text(), foot]
    if state.message:
        parts += [Text(), Text(state.message, style='yellow')]
    return Panel(Group(*parts), title=Text(f'spaars {state.title}', style='bold'),
                 title_align='left', subtitle=Text(state.subtitle),
                 subtitle_align='right', border_style='dim', padding=(1, 2))


def clean(text: str) -> str:
    """Return text without control sequences, which quoted output may contain."""
    return '\n'.join(printable(line, LONGEST_LINE) for line in text.split('\n'))


class LiveView:
    """
    View of a LiveState during a `with` block.

    A terminal shows a panel that is redrawn; any other output gets one line per episode.
    """

    def __init__(self, state: LiveState, console: Console | None = None,
                 plain: bool = False) -> None:
        """Show nothing yet; `plain` selects lines on a terminal, too."""
        self.state = state
        self.console = console or Console()
        self.plain = plain or not self.console.is_terminal
        self._live = None if self.plain else Live(
            console=self.console, auto_refresh=False, transient=False)
        self._lines = 0
        self._shown = ''
        self._said: set[str] = set()
        self._drawn = 0.0

    def __enter__(self) -> 'LiveView':
        """Start drawing."""
        if self._live:
            self._live.start()
        elif self.state.episodes:  # recorded before: their lines are not printed again
            self.say(f'continues after episode {self.state.episodes[-1]["episode"] + 1}')
        self._lines = len(self.state.episodes)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Draw once more and release the terminal."""
        self.update(now=True)
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the panel; a closed terminal or pipe does not end the run."""
        try:
            self.console.print(clean(text), highlight=False, markup=False, soft_wrap=True)
        except (OSError, SystemExit):  # rich raises SystemExit for a broken pipe
            self._go_silent()

    def _go_silent(self) -> None:
        """Discard all further output: the terminal or the pipe is closed."""
        self.console.quiet = True
        self._live, self.plain = None, True
        # Otherwise Python's flush of stdout at exit would fail and give exit code 120.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

    def update(self, now: bool = False) -> None:
        """Redraw if `REFRESH` s have passed or `now` is set; plain: print what is new."""
        if self._live:
            if now or time.monotonic() - self._drawn > REFRESH:
                self._drawn = time.monotonic()
                try:
                    self._live.update(panel(self.state), refresh=True)
                except (OSError, SystemExit):
                    self._go_silent()
            return
        if self.state.message != self._shown:
            self._shown = self.state.message
            # A message that differs in its numbers only is not repeated, such as a cost above its
            # limit in every episode.
            kind = re.sub(r'[-\d.]+', '#', self._shown)
            if self._shown and (kind not in self._said or self._shown.startswith(STOPPED)):
                self.say(self._shown)
            self._said.add(kind)
        if len(self.state.episodes) > self._lines:
            self._lines = len(self.state.episodes)
            self.say(plain_line(self.state))
