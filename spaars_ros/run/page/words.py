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

"""Status text of the page: phase of the run, stop, and age of the data."""

from collections.abc import Sequence

from spaars_ros.run.liveview import learner_line
from spaars_ros.run.liveview import LiveState
from spaars_ros.run.liveview import mean
from spaars_ros.run.liveview import PHASES

OLD = 2.0
"""s after which data are marked as old."""
LIFE = str.maketrans({sign: f'\\{sign}' for sign in '\\`*_{}[]<>()#+!|'})


def plain(text: str) -> str:
    """Return text with Markdown's special characters escaped."""
    return text.translate(LIFE)


def age(seconds: float | None) -> str:
    """Return the age of data in s as text; None: nothing received yet."""
    if seconds is None:
        return '**nothing heard yet**'
    if seconds > OLD:
        return f'**nothing heard for {seconds:.0f} s: what you see is old**'
    return f'heard {seconds:.1f} s ago'


def summary(state: LiveState, stop: str, asking: str, ages: Sequence[tuple[str, float | None]],
            unscored: int, person: str) -> str:
    """
    Return the head of the page as Markdown.

    :param stop: message of the latched stop, '' for none
    :param asking: manual reset that the run waits for, '' for none
    :param ages: (name, s since its last message, None for never)
    :param unscored: number of episodes of which this page missed records
    :param person: motion that is driven from this page, '' for none
    """
    lines = []
    if stop:
        lines.append(f'## STOPPED\n\n**{plain(stop)}**')
    elif asking:
        lines.append(f'## Waits for you\n\n**{plain(asking)}**')
    else:
        lines.append(f'## {plain(state.phase)}')
        lines.append(plain(PHASES.get(state.phase, '')))
    total = f' of {state.episodes_total}' if state.episodes_total else ''
    lines.append(f'{plain(state.subtitle)}')
    lines.append(f'**Episode** {len(state.episodes)}{total} · **success** '
                 f'{mean(state.recent("success")):.0%} · **cost** {mean(state.recent("cost")):.1f}'
                 f' of {state.limit:g} · **λ** {state.multiplier:.3f}')
    lines.append(f'**Policy** version {state.bundle_version} · **latency** '
                 f'{state.latency_p50_ms:.1f} ms, p99 {state.latency_p99_ms:.1f} ms · '
                 f'**lost ticks** {state.lost_ticks} · **filter** {state.interventions} '
                 f'interventions · **learner** {learner_line(state)}')
    if person:
        lines.append(f'**You drive: {person}**')
    if state.message and not stop:
        lines.append(f'*{plain(state.message)}*')
    if unscored:
        lines.append(f'{unscored} episodes are not in the curves: this page missed a part of '
                     'them; the recording has all.')
    lines.append(' · '.join(f'{name}: {age(seconds)}' for name, seconds in ages))
    return '\n\n'.join(line for line in lines if line)
