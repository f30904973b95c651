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

"""The documentation: every link leads somewhere, the site builds, commands are those there are."""

from pathlib import Path
import re
import subprocess
import sys

import pytest
import typer

from benchmarks import tables
from spaars_ros.cli import app
from spaars_ros.commissioning import stress_table

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted((ROOT / 'docs').rglob('*.md')),
         *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'QUALITY_DECLARATION.md',
                                    'SECURITY.md'))]
LINK = re.compile(r'\]\(([^)\s]+)\)')
COMMAND = re.compile(r'(?:\./run|(?<![\w./-])spaars) ([a-z][a-z-]*)([^`\n|#&;]*)')
OF_RUN = {'test', 'setup', 'docs'}
"""What ./run does itself."""


def prose(page):
    """Return a page without its code blocks."""
    return re.sub(r'^```.*?^```', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    found = set()
    for title in re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE):
        title = re.sub(r'[`*]|\]\([^)]*\)|\[', '', title.strip()).lower()
        found.add(re.sub(r'\s', '-', re.sub(r'[^\w\s-]', '', title)))
    return found


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    for link in LINK.findall(prose(page)):
        if re.match(r'[a-z]+:', link):
            continue
        name, _, anchor = link.partition('#')
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f'{link}: no such file'
        if anchor and target.suffix == '.md':
            assert anchor in anchors(target), f'{link}: no such heading'


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / 'a.md').write_text('# One: `two`\n[x](a.md#one-two) [y](b.md)')
    assert anchors(tmp_path / 'a.md') == {'one-two'}
    assert LINK.findall(prose(tmp_path / 'a.md')) == ['a.md#one-two', 'b.md']


def test_every_picture_is_shown_somewhere():
    """What no page shows is left over."""
    shown = {(page.parent / link).resolve() for page in PAGES
             for link in LINK.findall(prose(page))}
    pictures = {path for path in (ROOT / 'docs' / 'images').rglob('*') if path.is_file()}
    assert pictures <= shown, sorted(map(str, pictures - shown))


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists_with_its_options(page):
    command = typer.main.get_command(app)
    known = dict(command.commands)
    for name, options in COMMAND.findall(page.read_text()):
        if name in OF_RUN:
            continue
        assert name in known, f'{page.name}: spaars {name}'
        if hasattr(known[name], 'commands'):
            continue
        there = {flag for option in known[name].params for flag in
                 (*option.opts, *option.secondary_opts)} | {'--help'}
        for option in re.findall(r'--[a-z][a-z-]*', options):
            assert option in there, f'{page.name}: spaars {name} {option}'


@pytest.mark.parametrize('page', tables.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_what_their_files_say(page):
    """Otherwise: ./run bench tables."""
    assert tables.fill(page.read_text()) == page.read_text()


@pytest.mark.parametrize('page', sorted((ROOT / 'docs' / 'results').glob('*.md')),
                         ids=lambda page: page.name)
def test_no_row_of_a_result_is_typed_by_hand(page):
    rest = tables.PLACE.sub('', page.read_text()).split(stress_table.BEGIN)
    rest = rest[0] + ''.join(part.split(stress_table.END)[1] for part in rest[1:])
    assert not re.findall(r'^\|.*', rest, re.MULTILINE)


@pytest.mark.parametrize('change, message', [
    ({'columns': ['a']}, 'row 0 has 2 cells, there are 1 columns'),
    ({'sedes': []}, r"keys \['sedes'\] are missing or unknown")])
def test_a_table_s_file_that_is_none_is_refused(change, message):
    table = {'command': 'x', 'commit': 'y', 'date': '', 'processor': '', 'seeds': [0], 'note': '',
             'columns': ['a', 'b'], 'rows': [[1, 2]]}
    assert tables.render(table, 'name').startswith('| a | b |\n|---|---|\n| 1 | 2 |\n')
    with pytest.raises(tables.TableError, match=message):
        tables.render({**table, **change}, 'name')


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip('material', reason='mkdocs-material is not installed')
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet', '-f',
         str(ROOT / 'mkdocs.yml'), '-d', str(tmp_path / 'site')],
        capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'site' / 'index.html').exists()
