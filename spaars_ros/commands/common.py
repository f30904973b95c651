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

"""Helpers of the subcommands: errors as one line, JSON files, lists of values."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
import json
import math
import os
from pathlib import Path
from typing import Any
import warnings

import typer

from spaars_ros.interrupts import interrupt_was_noted


@contextmanager
def errors_as_one_line() -> Iterator[None]:
    """Turn errors of the package into one line on stderr and exit code 1; Ctrl-C into 0."""
    try:
        _check_gl()
        yield
    except KeyboardInterrupt:
        typer.echo('ended, as asked for', err=True)
        raise typer.Exit(0) from None
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        # Errors of the package: a ValueError names file and field; a ConductorError, which is a
        # RuntimeError, names the node; an ImportError names the extra that is not installed.
        if _was_interrupted(error):
            typer.echo('ended, as asked for', err=True)
            raise typer.Exit(0) from None
        text = f'{error.filename}: {error.strerror}' \
            if isinstance(error, OSError) and error.filename else str(error)
        typer.echo(f'error: {text}', err=True)
        raise typer.Exit(1) from None


def _was_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused an error, such as in a library during its import."""
    if interrupt_was_noted():
        return True
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _check_gl() -> None:
    """Raise ValueError when MuJoCo cannot load MUJOCO_GL: otherwise every node would die."""
    wanted = os.environ.get('MUJOCO_GL')
    if wanted:
        try:
            import_module('mujoco')
        except Exception as error:  # an AttributeError where the library is missing
            raise ValueError(f'MUJOCO_GL={wanted}: MuJoCo cannot use it here ({error}): unset it, '
                             'or install the library') from None


@contextmanager
def warnings_as_one_line() -> Iterator[None]:
    """Show warnings as one line on stderr, without the source location."""
    def show(message: Warning | str, *where: Any, **options: Any) -> None:
        typer.echo(f'warning: {message}', err=True)
    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def plain(value: Any) -> Any:
    """Return a value for strict JSON: arrays as lists, NaN and infinity as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, 'tolist'):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path | None, content: Any) -> None:
    """Write a JSON file if a path is given; raises OSError."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain(content), indent=2) + '\n')


def check_json(path: Path | None) -> None:
    """Raise ValueError before the work begins if a JSON file could not be written."""
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f'--json {path} is a folder: give a file')
    place = path if path.exists() else next(
        parent for parent in path.absolute().parents if parent.exists())
    if not os.access(place, os.W_OK) or not (path.exists() or place.is_dir()):
        raise ValueError(f'--json {path}: no file can be written there')


def report(result: Any, path: Path | None) -> None:
    """Print a result as JSON, and write it if a path is given; raises OSError."""
    typer.echo(json.dumps(plain(result), indent=2))
    write_json(path, result)


def seeds_of(text: str) -> list[int]:
    """Return the seeds of --seeds, comma-separated; raises ValueError for a duplicate."""
    try:
        seeds = [int(seed) for seed in text.split(',')]
    except ValueError:
        raise ValueError(f'--seeds {text}: expected whole numbers, comma-separated') from None
    # Two runs with one seed would share a folder, and count twice in the interval.
    twice = [seed for number, seed in enumerate(seeds) if seed in seeds[:number]]
    if twice or min(seeds) < 0:
        raise ValueError(f'--seeds {text}: ' + (f'{twice[0]} is there twice' if twice
                                                else f'{min(seeds)} is below 0'))
    return seeds


def overrides_of(pairs: list[str]) -> dict[str, Any]:
    """Return name -> value from NAME=VALUE pairs with YAML values; raises ValueError."""
    from spaars_ros.robot.strict_yaml import read_value
    overrides: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition('=')
        if not equals:
            raise ValueError(f'--set {pair}: expected NAME=VALUE')
        if name in overrides:
            raise ValueError(f'--set {pair}: {name} is there twice')
        overrides[name] = read_value(value, f'--set {pair}')
    return overrides
