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

"""Output that outlives its terminal, and that any terminal's encoding can show."""

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
"""What a sign is written as where the encoding does not have it."""


class SteadyStream:
    """
    A text stream that a closed pipe or a lost terminal silences, and no sign makes fail.

    A run does not end because nobody reads its output any more: the robot goes on, and the report
    is written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.closed_by_reader = False

    def write(self, text: str) -> int:
        """Write what can be shown; returns the length of `text` also when nobody reads."""
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
        """Hand on what is written."""
        self._quietly(self._stream.flush)

    def _quietly(self, act: Any) -> None:
        if self.closed_by_reader:
            return
        try:
            act()
        except OSError:  # BrokenPipeError, and EIO of a terminal that is gone
            self.closed_by_reader = True
            with suppress(OSError, ValueError):
                # What the stream still holds goes nowhere, and says nothing when Python ends.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _has(encoding: str, sign: str) -> bool:
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def steady_streams() -> None:
    """Make this process's output steady; once."""
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, SteadyStream):
            setattr(sys, name, SteadyStream(stream))
