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

"""Output streams that survive a closed terminal and work with any encoding."""

from contextlib import suppress
import os
import sys
from typing import Any
from typing import TextIO

SIGNS = str.maketrans({
    'λ': 'lambda', '→': '->', '←': '<-', '–': '-', '—': '-', '−': '-', '…': '...', '±': '+-',
    '°': ' deg', 'µ': 'u', 'μ': 'u', '·': ' ', '×': 'x', '≥': '>=', '≤': '<=', '✓': 'ok',
    '✗': 'x', '▁': '_', '▂': '_', '▃': '.', '▄': '-', '▅': '=', '▆': '+', '▇': '*', '█': '#',
    '━': '-', '─': '-', '│': '|', '┃': '|', '╭': '+', '╮': '+', '╰': '+', '╯': '+', '╸': '-',
    '╺': '-', '┌': '+', '┐': '+', '└': '+', '┘': '+', '•': '*', '●': '*', '○': 'o'})
"""Character -> replacement for encodings without it."""


class SteadyStream:
    """
    Text stream that goes silent on a closed pipe or terminal and never fails on a character.

    A run must not end because its output is no longer read: the robot continues, and the report is
    written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.closed_by_reader = False

    def write(self, text: str) -> int:
        """Write the text, with replacements for its encoding; return the length of `text`."""
        encoding = getattr(self._stream, 'encoding', None) or 'utf-8'
        try:
            text.encode(encoding)
            shown = text
        except UnicodeEncodeError:
            shown = ''.join(one if _has(encoding, one) else one.translate(SIGNS) for one in text)
            shown = shown.encode(encoding, 'replace').decode(encoding)
        self._quietly(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._quietly(self._stream.flush)

    def _quietly(self, act: Any) -> None:
        if self.closed_by_reader:
            return
        try:
            act()
        except OSError:  # BrokenPipeError, or EIO of a closed terminal
            self.closed_by_reader = True
            with suppress(OSError, ValueError):
                # Discard the stream's buffer without an error at Python's exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the wrapped stream."""
        return getattr(self._stream, name)


def _has(encoding: str, sign: str) -> bool:
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def steady_streams() -> None:
    """Wrap stdout and stderr of this process in a SteadyStream, unless already done."""
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, SteadyStream):
            setattr(sys, name, SteadyStream(stream))
