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

"""Strict reader of all YAML files that a person writes: bounded size, YAML 1.2 scalars."""

from dataclasses import dataclass
from dataclasses import field
import os
from pathlib import Path
import re
import stat
from typing import Any
from typing import Union

import yaml

MAX_BYTES = 64 * 1024
"""Greatest size of a file; the longest shipped file has 5 kB, and YAML is slow to read."""
MAX_DEPTH = 20
MAX_VALUES = 10_000
"""Greatest number of values in a file, with each alias counted as often as it is used."""

ODD_BREAKS = re.compile('[\x85\u2028\u2029]')
"""Line breaks of YAML 1.1 that YAML 1.2, and most editors, do not take as such."""

Place = tuple[Union[str, int], ...]
"""Keys and list indices that lead to a value."""

_STRING, _NULL, _BOOL, _INT, _FLOAT = (
    f'tag:yaml.org,2002:{kind}' for kind in ('str', 'null', 'bool', 'int', 'float'))

_CORE = (
    (_NULL, r'(?:~|null|Null|NULL|)', '~nN\0'),
    (_BOOL, r'(?:true|True|TRUE|false|False|FALSE)', 'tTfF'),
    # 020 is octal for some readers and decimal for others: not accepted as a number.
    (_INT, r'(?:[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+)', '-+0123456789'),
    (_FLOAT, r'(?:[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?'
             r'|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))', '-+.0123456789'),
)
"""Tag, pattern and first characters of all scalars but strings (YAML 1.2.2, section 10.3)."""


class ConfigError(ValueError):
    """A configuration file is wrong; the message names the file, the field and the value."""


@dataclass(frozen=True)
class Document:
    """Content of a YAML file, with the line of each value."""

    name: str
    """Name of the file, for messages."""
    content: Any
    lines: dict[Place, int] = field(default_factory=dict)
    """Place -> line, from 1."""
    numbers: dict[Place, str] = field(default_factory=dict)
    """Place of a number -> its text in the file, since a name may look like a number."""

    def where(self, place: Place) -> str:
        """Return `file:line` of a place, or of the nearest enclosing place with a known line."""
        while place and place not in self.lines:
            place = place[:-1]
        line = self.lines.get(place)
        return f'{self.name}:{line}' if line else self.name


class _Refused(ValueError):
    """An error at a mark; converted to a ConfigError with the name of the file."""

    def __init__(self, text: str, mark: yaml.Mark) -> None:
        super().__init__(text)
        self.line = mark.line + 1


class _Composer(yaml.SafeLoader):
    """Compose YAML nodes without tags, with bounded depth, and with YAML 1.2 scalars."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    _depth = 0
    _count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if getattr(event, 'tag', None) is not None:
            raise _Refused(f'a tag ({_one_line(event.tag)}): tags are not allowed here',
                           event.start_mark)
        if self._depth >= MAX_DEPTH:
            raise _Refused(f'nested deeper than {MAX_DEPTH}', event.start_mark)
        self._count += 1
        if self._count > MAX_VALUES:
            raise _Refused(f'more than {MAX_VALUES} values', event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


for _tag, _pattern, _first in _CORE:
    _Composer.add_implicit_resolver(
        _tag, re.compile(rf'^{_pattern}$'),
        ['' if character == '\0' else character for character in _first])


def read_yaml(path: Path) -> Document:
    """
    Read a YAML mapping that a person wrote.

    :raises ConfigError: one line that names the file, the line and the error
    """
    document = read_document(path)
    if not isinstance(document.content, dict):
        raise ConfigError(f'{path}: expected a mapping (name: value), found '
                          f'{_kind(document.content)}')
    return document


def read_document(path: Path) -> Document:
    """Read a YAML file with a value of any kind; raises ConfigError as `read_yaml` does."""
    try:
        # Without O_NONBLOCK, a pipe that nobody writes would block here.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), 'rb') as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f'{path}: a folder, pipe or device, not a file')
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f'{path}: {error.strerror}') from None
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f'{str(path)!r}: {error}') from None
    return parse(data, str(path))


def parse(data: bytes, name: str) -> Document:
    """Return the content of a YAML file given as bytes; raises ConfigError as `read_yaml` does."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f'{name}: larger than {MAX_BYTES} bytes')
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data[:error.start].count(b'\n') + 1
        raise ConfigError(f'{name}:{line}: byte 0x{data[error.start]:02x} is not UTF-8: save the '
                          'file as UTF-8') from None
    odd = ODD_BREAKS.search(text)
    if odd is not None:
        line = text.count('\n', 0, odd.start()) + 1
        raise ConfigError(f'{name}:{line}: character U+{ord(odd.group()):04X}: some programs end '
                          'a line there, so that a comment would hide an entry: remove it')
    document = Document(name, None)
    try:
        loader = _Composer(text)
        node = loader.get_single_node()
        content = None if node is None else _Builder(document).value(node, ())
    except _Refused as error:
        raise ConfigError(f'{name}:{error.line}: {error}') from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = '' if mark is None else f':{mark.line + 1}'
        raise ConfigError(f'{name}{at}: not YAML: {_one_line(error.problem)}') from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # Errors without a mark: a character that YAML does not allow, or an invalid escaped code
        # point.
        raise ConfigError(f'{name}: not YAML: {_one_line(error)}') from None
    return Document(name, content, document.lines, document.numbers)


def read_value(text: str, name: str) -> Any:
    """Return one value, parsed as in a file, for NAME=VALUE; raises ConfigError."""
    try:
        return parse(text.encode('utf-8', 'surrogatepass'), name).content
    except ConfigError as error:  # a single value has no line numbers
        raise ConfigError(str(error).replace(f'{name}:1: ', f'{name}: ', 1)) from None


class _Builder:
    """Convert nodes to values, and record the line of each."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0

    def value(self, node: yaml.Node, place: Place) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _Refused(f'more than {MAX_VALUES} values, aliases counted as often as used',
                           node.start_mark)
        # An alias inside its own anchor never ends.
        if len(place) > MAX_DEPTH:
            raise _Refused(f'nested deeper than {MAX_DEPTH}', node.start_mark)
        self._document.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _STRING:
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else '[...]'
                raise _Refused(f'key {_one_line(shown)} of {_field(place)} is no string: put it '
                               'in quotes if it is meant so', key_node.start_mark)
            key = self._text(key_node)
            here = (*place, key)
            if key == '<<':
                raise _Refused('merge keys (<<) are not allowed: write the entries out',
                               key_node.start_mark)
            if key in made:
                first = self._document.lines[here]
                raise _Refused(f'{_field(here)} is there twice, first in line {first}: '
                               'leave one out', key_node.start_mark)
            self._document.lines[here] = key_node.start_mark.line + 1
            made[key] = self.value(value_node, here)
        return made

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        text = node.value
        if node.tag == _STRING:
            return self._text(node)
        if node.tag == _NULL:
            return None
        if node.tag == _BOOL:
            return text.lower() == 'true'
        self._document.numbers[place] = text
        if node.tag == _INT:
            base = {'0o': 8, '0x': 16}.get(text[:2], 10)
            # Python refuses to parse very many digits; no field needs that many.
            return int(text, base) if len(text) < 400 else float('inf')
        return float(re.sub(r'^([-+]?)\.(inf|nan)$', r'\1\2', text.lower()))

    @staticmethod
    def _text(node: yaml.ScalarNode) -> str:
        text = str(node.value)
        odd = next((character for character in text if not character.isprintable()), None)
        if odd is not None:
            raise _Refused(f'character U+{ord(odd):04X} in {_one_line(text)}: only printable '
                           'ones are allowed', node.start_mark)
        return text


def _field(place: Place) -> str:
    return repr('.'.join(str(part) for part in place)) if place else 'the file'


def _one_line(text: Any) -> str:
    """Return text for a message: printable, on one line, of limited length."""
    shown = ' '.join(str(text).split())
    shown = ''.join(c if c.isprintable() else f'\\x{ord(c):02x}' for c in shown)
    return shown if len(shown) <= 160 else shown[:157] + '...'


def shown(value: Any) -> str:
    """Return a value for a message: on one line, of limited length."""
    return _one_line(repr(value))


def _kind(value: Any) -> str:
    if value is None:
        return 'nothing'
    return 'a list' if isinstance(value, list) else shown(value)
