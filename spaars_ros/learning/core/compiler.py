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

"""Compile updates in a separate process and cache the packages in the user's cache folder."""

import fcntl
from functools import cache
import hashlib
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import torch
from torch import Tensor

from spaars_ros.interrupts import die_with_parent
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.robot.config import PACKAGE
from spaars_ros.source_code import code_of

CACHE = Path('~/.cache/spaars_ros/compiled')
PAYS = 5000
"""Number of updates after which mode `auto` compiles; in shorter runs it does not pay off."""
LOOKS = 64
"""Number of updates between two calls of `look`."""
PACKAGE_TO_INSTALL = 'no C++ compiler: sudo apt install g++'


class Compiler:
    """
    Compiles, one after another, the updates that an agent has run uncompiled.

    Meanwhile the agent continues uncompiled. `look` starts compilations and loads finished ones
    (10 ms). Results are equal within rounding.

    :param agent: agent whose updates, and those of its `parts`, are compiled; without a `recipe`
        they stay uncompiled
    :param mode: auto (load cached updates at once, compile others after `PAYS` updates), off, on
    :param folder: folder of the packages, created when needed; None: `CACHE`
    :param beside: False waits for each compilation instead of using a second core
    """

    def __init__(self, agent: TrainableModule, mode: str = 'on', folder: Path | None = None, *,
                 beside: bool = True) -> None:
        self.agent = agent
        here = agent.device.type == 'cpu'
        self._parts = [part for part in agent.parts() if here and part.recipe is not None]
        self.mode = mode
        self._beside = beside
        self._folder = (folder or CACHE).expanduser()
        self._failed: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._compiling: tuple[TrainableModule, str, Path] | None = None
        self._errors: Any = None
        self.missing = '' if self._parts else 'this algorithm cannot be compiled' if here \
            else f'compiled updates are for the CPU, and these run on {agent.device.type}'
        if not self.missing and shutil.which(os.environ.get('CXX', 'g++')) is None:
            self.missing = PACKAGE_TO_INSTALL

    @property
    def busy(self) -> bool:
        """Return whether a compilation runs."""
        return self._process is not None

    @property
    def status(self) -> str:
        """Return a text: how many updates are compiled, what is missing, and what failed."""
        if self.mode == 'off':
            return 'off'
        parts = self.agent.parts()
        compiled = sum(len(part.compiled) for part in parts)
        words = [f'{compiled} of {compiled + sum(len(part.called) for part in parts)} compiled']
        if self._compiling is not None:
            words.append(f'compiling {self._compiling[1]}')
        if self.missing:
            words.append(self.missing)
        words += [f'{name}: {error}' for name, error in self._failed.items()]
        return '; '.join(words)

    def after_update(self, updates: int) -> None:
        """Call `look` every `LOOKS` updates, according to `mode`; `updates` is their count."""
        if self.mode != 'off' and updates % LOOKS == 0 \
                and any(part.called for part in self._parts):
            self.look(start=self.mode == 'on' or updates >= PAYS)

    def look(self, start: bool = True) -> None:
        """Load what is compiled or cached and, with `start`, begin to compile the rest."""
        if self._process is not None:
            self._take_up()
        if self._process is None:
            for part in self._parts:
                for key, call in list(part.called.items()):
                    if key in self._failed:
                        continue
                    if not self._beside:
                        self._compile_here(part, key, call, start)
                    elif self._begin(part, key, call, start):
                        return

    def _compile_here(self, part: TrainableModule, key: str, call: dict[str, Any], start: bool
                      ) -> None:
        """Load an update; if it is not cached, wait until this or another run has compiled it."""
        if self.missing or not start:
            self._begin(part, key, call, False)
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / 'lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._begin(part, key, call, True) and self._process is not None:
                self._process.wait()
                self._take_up()

    def _begin(self, part: TrainableModule, key: str, call: dict[str, Any], start: bool) -> bool:
        """Load a cached update, else start to compile it if possible; return whether started."""
        request = {'recipe': part.recipe, **call}
        path = self._folder / f'{key}-{_digest(request)}.pt2'
        if path.exists():
            self._load(part, key, path)
            return False
        if self.missing or not start:
            return False
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._errors = tempfile.TemporaryFile('w+')
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'spaars_ros.learning.core.compile'], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._errors,
                preexec_fn=_behind_everything if self._beside else die_with_parent)
            assert self._process.stdin is not None
            with self._process.stdin as pipe:
                pipe.write(json.dumps({**request, 'path': str(path)}) + '\n')
        except OSError as error:
            self._failed[key] = str(error)
            return False
        self._compiling = part, key, path
        return True

    def _take_up(self) -> None:
        assert self._process is not None and self._compiling is not None
        if self._process.poll() is None:
            return
        part, key, path = self._compiling
        if self._process.returncode == 0:
            self._load(part, key, path)
        else:
            self._errors.seek(0)
            words = self._errors.read().strip().splitlines()[-1:]
            self._failed[key] = ' '.join(words) or f'exit code {self._process.returncode}'
        self._process = self._compiling = None

    def _load(self, part: TrainableModule, key: str, path: Path) -> None:
        try:
            part.compiled[key] = load_update(path)
            part.called.pop(key, None)
        except (OSError, RuntimeError, ValueError) as error:
            path.unlink(missing_ok=True)
            self._failed[key] = ' '.join(str(error).split())[:200]

    def close(self) -> None:
        """Kill the compiling process, if one runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = self._compiling = None


def load_update(path: Path) -> Any:
    """Load the compiled update of a package, as a value for `TrainableModule.compiled`."""
    from torch._C._aoti import AOTIModelPackageLoader
    taken = json.loads(path.with_suffix('.json').read_text())
    package = AOTIModelPackageLoader(str(path), 'model', False, 1, -1)

    def update(state: list[Tensor], drawn: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tensors = [*state, *drawn]
        return tuple(package.boxed_run([tensors[index] for index in taken]))

    return update


def _digest(request: dict[str, Any]) -> str:
    """Return the cache key of a request: digest of request, code, torch version and processor."""
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode())
    digest.update(torch.__version__.encode())
    digest.update(updates_digest(PACKAGE / 'learning').encode())
    processor = Path('/proc/cpuinfo')
    if processor.exists():
        lines = processor.read_text().splitlines()
        digest.update(''.join(each for each in lines if each.startswith('flags'))[:4000].encode())
    return digest.hexdigest()[:24]


@cache
def updates_digest(learning: Path) -> str:
    """
    Return a digest of the code of all updates, without comments and docstrings.

    :param learning: folder of the subpackage `learning`
    """
    digest = hashlib.sha256()
    for path in sorted(path for room in ('algorithms', 'core')
                       for path in (learning / room).rglob('*.*')):
        if path.suffix == '.py':
            digest.update(code_of(path.read_text()).encode() + b'\0')
        elif path.suffix == '.h':
            digest.update(path.read_bytes() + b'\0')
    return digest.hexdigest()


def _behind_everything() -> None:
    """Give the compiling process the lowest CPU priority, and end it with its parent."""
    os.nice(19)
    die_with_parent()
