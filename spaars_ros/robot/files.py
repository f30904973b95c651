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

"""Search for configuration files, and validation of their content as models."""

import difflib
import json
import math
from pathlib import Path
import stat
import sys
from typing import Any
from typing import get_args
from typing import TypeVar
import warnings

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError

from spaars_ros.robot.resources import expanded
from spaars_ros.robot.resources import is_file
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import Document
from spaars_ros.robot.strict_yaml import Place
from spaars_ros.robot.strict_yaml import read_yaml
from spaars_ros.robot.strict_yaml import shown

SHARE = Path('share', 'spaars_ros')
PACKAGE = Path(__file__).resolve().parent.parent
SUFFIXES = ('.yaml', '.yml')
SHOWN = 5
"""Greatest number of errors per file that a message lists."""


class ConfigWarning(UserWarning):
    """A setting in a robot, task or training file is allowed, but perhaps not intended."""


class Strict(BaseModel):
    """Base class of file sections: unknown keys are errors, and every number is finite."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


Model = TypeVar('Model', bound=Strict)


def share_directory() -> Path:
    """Return the directory with `config/` and `launch/`: ament prefix, checkout or wheel."""
    # A checkout; pip's --target; a prefix or --user, with the package in lib/python*/*-packages.
    for place in (PACKAGE.parent, PACKAGE.parent / SHARE, *(
            parent / SHARE for parent in PACKAGE.parents[3:4])):
        if (place / 'config' / 'robot').is_dir():
            return place
    try:
        from ament_index_python.packages import get_package_share_directory
        return Path(get_package_share_directory('spaars_ros'))
    except (ImportError, LookupError, OSError):  # OSError: no AMENT_PREFIX_PATH
        return Path(sys.prefix) / SHARE


def is_bare(name: str) -> bool:
    """Return whether a name means a shipped file: it contains neither a folder nor a suffix."""
    return '/' not in name and '\\' not in name and not name.lower().endswith(SUFFIXES)


def find_file(name: str, kind: str) -> Path:
    """
    Return a file given by path, or a shipped file given by its bare name; raises ConfigError.

    A name with a folder or a suffix is a path, without any fallback. A bare name means the shipped
    file, whatever the working directory contains.
    """
    folder = share_directory() / 'config' / kind
    known = sorted(path.stem for path in folder.glob('*.yaml'))
    ships = f'those that ship are named {", ".join(known)}'
    if not name or not name.isprintable():
        raise ConfigError(f'{kind} file {name!r}: not a name of a file; {ships}')
    if not is_bare(name):
        path = expanded(name)
        if is_file(path):
            return path
        stem = f', {path.stem!r} alone is one of them' if path.stem in known else ''
        raise ConfigError(f'{kind} file {name!r}: {_why_no_file(path)}; {ships}{stem}')
    beside = [path for path in (Path(name), *(Path(name + suffix) for suffix in SUFFIXES))
              if is_file(path)]
    if name in known:
        if beside:
            warnings.warn(f'{kind} {name!r} is the file that ships, not ./{beside[0]}: write '
                          f'./{beside[0]} for that one', ConfigWarning, stacklevel=3)
        return folder / f'{name}.yaml'
    meant = f'; there is ./{beside[0]}: write ./ before it' if beside else nearest(name, known)
    raise ConfigError(f'{kind} file {name!r}: no such file; {ships}{meant}')


def _why_no_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return 'no such file'
    except OSError as error:
        return str(error.strerror).lower()
    return 'a folder' if stat.S_ISDIR(mode) else 'a pipe, socket or device, not a file'


def nearest(name: str, known: 'list[str] | tuple[str, ...]') -> str:
    """Return '; did you mean ...?' with the known name that is most similar, or ''."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f'; did you mean {found[0]!r}?' if found else ''


def load_model(model: type[Model], path: Path, **more: Any) -> Model:
    """
    Return a model made from a YAML file, strictly: strings and numbers are not converted.

    :param more: entries that override those of the file; None: not given
    :raises ConfigError: one line with file, line, field, value and what is allowed
    """
    document = read_yaml(path)
    if 'source' in document.content and 'source' in more:
        raise ConfigError(f"{document.where(('source',))}: unknown key 'source'")
    given = {key: value for key, value in more.items() if value is not None}
    return make_model(model, document, given)


def make_model(model: type[Model], document: Document, given: dict[str, Any]) -> Model:
    """Return a model made from a file's content and overriding entries; raises ConfigError."""
    content = {**document.content, **given}
    errors: list[Any] = []
    for _ in range(2):
        try:
            # Validate as JSON: there, a list becomes a tuple, and a bool is not a number.
            text = json.dumps(content, default=_plain)
            return model.model_validate_json(text, strict=True)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f'{document.name}: {error}') from None
        # A name may look like a number: where a string is expected, use the text as written.
        texts = [place for item in errors if item['type'] == 'string_type'
                 and (place := _place(item['loc'])) in document.numbers and place[0] not in given]
        if not texts:
            break
        for place in texts:
            _put(content, place, document.numbers[place])
    said = [_said(item, document, model, given) for item in errors[:SHOWN]]
    said += [f'and {len(errors) - SHOWN} more'] if len(errors) > SHOWN else []
    # One line: the file is named once, then only the line numbers.
    rest = [text.removeprefix(f'{document.name}: ').replace(f'{document.name}:', 'line ', 1)
            for text in said[1:]]
    raise ConfigError('; '.join(said[:1] + rest))


def _plain(value: Any) -> Any:
    if hasattr(value, 'tolist'):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f'{shown(value)} is no value of a file')


def _put(content: Any, place: Place, value: str) -> None:
    for part in place[:-1]:
        content = content[part]
    content[place[-1]] = value


def _said(item: Any, document: Document, model: type[BaseModel], given: dict[str, Any]) -> str:
    """Return one validation error as text: file, line, field, value and what is allowed."""
    place = _place(item['loc'])
    field = '.'.join(str(part) for part in place)
    where = document.where(place) if not place or place[0] not in given else document.name
    kind, message = item['type'], item['msg'].removeprefix('Value error, ')
    if kind == 'extra_forbidden':
        section = _section(model, place[:-1])
        known = list(section.model_fields) if section else []
        return f'{where}: unknown key {field!r} (value {shown(item["input"])})' \
            + nearest(str(place[-1]), known)
    if kind == 'missing' and isinstance(place[-1], int):
        around = '.'.join(str(part) for part in place[:-1])
        return f'{where}: {around}: too few values{_meaning(model, place)}'
    if kind == 'missing':
        where = document.where(place[:-1]) if place[:-1] else document.name
        return f'{where}: missing key {field!r}{_meaning(model, place)}'
    if not field:  # a check of several fields; its message begins with the field
        where = document.where(tuple(message.split()[0].rstrip(':').split('.')))
        return f'{where}: {message}'
    if kind == 'value_error' and isinstance(item['input'], dict):
        return f'{where}: {field}: {message}'
    if kind == 'finite_number' or isinstance(item['input'], float) \
            and not math.isfinite(item['input']):
        message = 'Input should be a finite number'
    return f'{where}: {field}: {message} (value {shown(item["input"])}){_meaning(model, place)}'


KINDS = ('sphere', 'cylinder', 'box')


def _place(location: Place) -> Place:
    """Return the place in the file of an error, without the kind of a zone, which is not a key."""
    return tuple(part for i, part in enumerate(location)
                 if not (part in KINDS and i and isinstance(location[i - 1], int)))


def _section(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Return the model at a place; None if there is none, or a union of several."""
    for part in place:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        models = _models(field.annotation) if field else []
        if len(models) != 1:
            return None
        model = models[0]
    return model


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for part in get_args(annotation) for one in _models(part)]


def _meaning(model: type[BaseModel], place: Place) -> str:
    """Return ': <unit and meaning>' of a field, '' if it has no description."""
    names = [part for part in place if isinstance(part, str)]
    section = _section(model, tuple(names[:-1])) if names else None
    field = section.model_fields.get(names[-1]) if section else None
    return f': {field.description}' if field is not None and field.description else ''
