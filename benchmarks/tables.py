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
"""
Tables of the documentation, each generated from a JSON file in docs/results/data/tables.

A page has the table of `<name>.json` between `<!-- table: <name> -->` and `<!-- end of table -->`.
"""

from collections.abc import Sequence
import json
from pathlib import Path
import re
from typing import Any

from spaars_ros.commissioning.stress_table import origin

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / 'docs' / 'results' / 'data' / 'tables'
PLACE = re.compile(r'<!-- table: ([a-z0-9-]+) -->\n.*?<!-- end of table -->', re.DOTALL)
KEYS = {'command', 'commit', 'date', 'processor', 'seeds', 'columns', 'rows', 'note'}


class TableError(ValueError):
    """Raised for an invalid table file; the message names file and error."""


def write_table(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *,
                command: str, seeds: Sequence[int], note: str = '',
                folder: Path = DATA) -> Path:
    """
    Write the file of a table with date, commit and processor; return its path.

    :param rows: cells per row (text or numbers), one per column
    :param command: command that produces the numbers
    :raises TableError: a row has more or fewer cells than there are columns
    """
    table = {'command': command, **origin(), 'seeds': list(seeds), 'note': note,
             'columns': list(columns), 'rows': [list(row) for row in rows]}
    render(table, name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.json'
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + '\n')
    return path


def render(table: dict[str, Any], name: str) -> str:
    """Return a table in Markdown, followed by its origin; raises TableError."""
    if set(table) != KEYS:
        raise TableError(f'{name}.json: keys {sorted(set(table) ^ KEYS)} are missing or unknown')
    width = len(table['columns'])
    for number, row in enumerate(table['rows']):
        if len(row) != width:
            raise TableError(f'{name}.json: row {number} has {len(row)} cells, there are {width} '
                             'columns')
    lines = [_line(table['columns']), '|' + '---|' * width, *map(_line, table['rows'])]
    seeds = ', '.join(map(str, table['seeds']))
    parts = [f'`{table["command"]}`' if table['command'] else '',
             f'commit {table["commit"]}' if table['commit'] else '', table['date'],
             table['processor'], f'seeds {seeds}' if seeds else '', table['note']]
    return '\n'.join([*lines, '', '*From:* ' + '; '.join(part for part in parts if part) + '.'])


def fill(text: str, folder: Path = DATA) -> str:
    """Return the text of a page with all tables updated from their files; raises TableError."""
    def made(match: 're.Match[str]') -> str:
        name = match[1]
        try:
            table = json.loads((folder / f'{name}.json').read_text())
        except (OSError, ValueError) as error:
            raise TableError(f'{folder / name}.json: {error}') from None
        return f'<!-- table: {name} -->\n{render(table, name)}\n<!-- end of table -->'
    return PLACE.sub(made, text)


def pages() -> list[Path]:
    """Return the pages that may have tables."""
    return [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]


def run() -> dict[str, Any]:
    """Update all tables in their pages; return the number of tables and the changed pages."""
    changed, count = [], 0
    for page in pages():
        text = page.read_text()
        count += len(PLACE.findall(text))
        new = fill(text)
        if new != text:
            page.write_text(new)
            changed.append(str(page.relative_to(ROOT)))
    return {'tables': count, 'changed': changed}


def _line(cells: Sequence[Any]) -> str:
    return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'
