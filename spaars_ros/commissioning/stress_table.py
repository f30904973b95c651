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

"""Table of `spaars stress`, from the rows of all its runs."""

from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence
import datetime
import json
from pathlib import Path
import platform
import re
import subprocess
from typing import Any

BEGIN = '<!-- begin of the table that `spaars stress --table` writes -->'
END = '<!-- end of that table -->'
HEAD = ('fault', 'runs', 'named', 'detected, s', 'at rest, s', 'to a joint limit, rad',
        'to a zone, m', 'speed of its limit', 'lost', 'back by', 'failed')
LEGEND = ('Times: median (greatest). Room and speed: the worst of all runs. At rest: of the runs '
          'in which the arm came to rest, how many. In brackets: nobody is left who could stop '
          'the arm, so that its way is not judged.')


def origin() -> dict[str, str]:
    """Return commit (with + where it was changed), date and processor."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        try:
            return subprocess.run(['git', '-C', str(here), *words], capture_output=True,
                                  text=True, timeout=10, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return ''
    commit = git('rev-parse', '--short', 'HEAD')
    if commit and git('status', '--porcelain', '--untracked-files=no'):
        commit += '+'
    return {'commit': commit, 'date': datetime.date.today().isoformat(),
            'processor': _processor()}


def _processor() -> str:
    try:
        found = re.search(r'^model name\s*: (.*)$', Path('/proc/cpuinfo').read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def table(rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]) -> str:
    """
    Return a Markdown table with one line per fault over all its runs, and its origin.

    :param rows: of all runs
    :param failed: the rows that are failures
    """
    lines = [BEGIN, '', f'`{command_of(rows)}`: {_sums(rows, failed)}; '
             + '; '.join(f'{name} {", ".join(_kinds(rows, name))}'
                         for name in ('commit', 'date', 'processor')) + '.', '',
             '| ' + ' | '.join(HEAD) + ' |', '|' + '---|' * len(HEAD)]
    lines += ['| ' + ' | '.join(cells) + ' |' for cells in _lines(rows, failed)]
    lines += ['', LEGEND, '']
    lines += [f'* {text}' for text in _reasons(failed)]
    return '\n'.join([*lines, *([''] if failed else []), END]) + '\n'


def data(rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the same data in the form that `./run bench tables` reads."""
    return {'command': command_of(rows),
            **{name: ', '.join(_kinds(rows, name)) for name in ('commit', 'date', 'processor')},
            'seeds': [f'{low} to {high}' if high > low else low
                      for low, high in _ranges({row['seed'] for row in rows})],
            'note': '. '.join([_sums(rows, failed), LEGEND.rstrip('.'), *_reasons(failed)]),
            'columns': list(HEAD), 'rows': _lines(rows, failed)}


def command_of(rows: Sequence[dict[str, Any]]) -> str:
    """Return a command that repeats these runs: the same faults and seeds."""
    seeds = sorted({row['seed'] for row in rows})
    whole = seeds == list(range(seeds[0], seeds[0] + len(seeds))) if seeds else True
    words = ['spaars stress', f'--runs {len(seeds)}']
    if seeds and (seeds[0] or not whole):
        words.append('--seeds ' + (str(seeds[0]) if whole else ','.join(map(str, seeds))))
    return ' '.join(words + [f'--fault {fault}' for fault in
                             dict.fromkeys(row['fault'] for row in rows)])


def write(path: Path, rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]) -> None:
    """
    Write the table to its place in a file, or append it; raise OSError.

    A file named .json gets the table's cells instead, in the form that `./run bench tables` reads.
    """
    if path.suffix == '.json':
        path.write_text(json.dumps(data(rows, failed), indent=1, ensure_ascii=False) + '\n')
        return
    text = table(rows, failed)
    old = path.read_text() if path.exists() else ''
    if BEGIN in old and END in old:
        before, rest = old.split(BEGIN, 1)
        text = before + text.rstrip('\n') + rest.split(END, 1)[1]
    else:
        text = old + ('\n' if old else '') + text
    path.write_text(text)


def _sums(rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]) -> str:
    return (f'{len(rows)} runs of {len({row["fault"] for row in rows})} faults, '
            f'{len([row for row in rows if row["skipped"]])} skipped, {len(failed)} failed')


def _lines(rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [_cells(fault, [row for row in rows if row['fault'] == fault and not row['skipped']],
                   [row for row in failed if row['fault'] == fault])
            for fault in dict.fromkeys(row['fault'] for row in rows)]


def _reasons(failed: Sequence[dict[str, Any]]) -> list[str]:
    return [f'{row["fault"]}, seed {row["seed"]}: {_why(row)}' for row in failed]


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each series of consecutive numbers."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _kinds(rows: Sequence[dict[str, Any]], name: str) -> list[str]:
    return sorted({str(row.get(name) or 'unknown') for row in rows})


def _cells(fault: str, rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]
           ) -> list[str]:
    if not rows:
        return [f'`{fault}`', '0', 'skipped', *[''] * (len(HEAD) - 3)]
    named = Counter(f'`{row["stop"]}`' if row['stop'] else _named(row['detected_by'])
                    for row in rows)
    rest = [row['stopped_s'] for row in rows if row['stopped_s'] is not None]
    stopped = [row for row in rows if row['stop']]
    at_rest = f'{_times(rest)}, {len(rest)} of {len(rows)}' if rest and (
        stopped or len(rest) == len(rows)) else 'rides through'
    free = any(not row.get('judged', True) for row in rows)
    room = [_worst(rows, 'joint_margin_rad', min), _worst(rows, 'zone_margin_m', min)]
    return [f'`{fault}`', str(len(rows)), _counted(named),
            _times([row['detected_s'] for row in rows if row['detected_s'] is not None]),
            at_rest, *(f'({text})' if free else text for text in room),
            _worst(rows, 'worst_speed', max, 2),
            str(sum(row['transitions_lost'] or 0 for row in rows)),
            _counted(Counter(row['recovered'] for row in rows)), str(len(failed))]


def _named(said: str | None) -> str:
    """Return what noticed a fault, without numbers and joints."""
    text = re.sub(r' [+-]?[0-9.]+.*', '', said or 'nothing')
    return text.replace('|', '/')[:60]


def _counted(kinds: Counter[str]) -> str:
    return ', '.join(f'{name} {count}' if len(kinds) > 1 else name
                     for name, count in kinds.most_common())


def _times(values: Sequence[float]) -> str:
    if not values:
        return ''
    middle = sorted(values)[len(values) // 2]
    return f'{middle:.2f} ({max(values):.2f})'


def _worst(rows: Sequence[dict[str, Any]], name: str, pick: Any, digits: int = 4) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return f'{pick(values):.{digits}f}' if values else ''


def _why(row: dict[str, Any]) -> str:
    if row['recovered'] == 'no':
        return f'did not come back ({row["detected_by"]}, {row["stop"] or "no stop"})'
    if row['transitions_lost']:
        return f'{row["transitions_lost"]} steps lost'
    return f'{-row["worst_margin"]:.4f} beyond: {row["worst_limit"]}'
