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

"""Ctrl-C and SIGTERM as one thing that is asked for, and taken at a good moment."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import ctypes
import faulthandler
import fcntl
import importlib.util
import os
import signal
import sys
import threading
from types import FrameType
from types import TracebackType
from typing import Any
from typing import NoReturn

PARENT = os.getppid()
"""Process that started this one, as of the import of this module."""
STARTED_BY = 'SPAARS_ROS_STARTED_BY'
"""Environment variable of a run's processes: the process id of the launch or command."""


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends, also by SIGKILL."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


def load_glfw_here() -> None:
    """
    Let MuJoCo's import load the GLFW of its wheel in this process; only the environment is set.

    Else the package `glfw` asks each library for its version in a process of its own, which
    prints a traceback where a signal ends the import.
    """
    found = importlib.util.find_spec('glfw')
    if found is None or not found.origin or 'PYGLFW_LIBRARY' in os.environ:
        return
    kind = os.environ.get('PYGLFW_LIBRARY_VARIANT') or os.environ.get('XDG_SESSION_TYPE') or ''
    library = os.path.join(os.path.dirname(found.origin),
                           'wayland' if kind.lower() == 'wayland' else 'x11', 'libglfw.so')
    if os.path.exists(library):
        os.environ['PYGLFW_LIBRARY'] = library


def starter_has_ended() -> bool:
    """
    Return whether nobody is left who started this process, once `die_with_parent` was called.

    Who ended while this process was still importing, or before rclpy's wheels started it anew, was
    never its parent.
    """
    if os.getppid() != PARENT:
        return True
    starter = os.environ.get(STARTED_BY, '')
    if not starter.isdigit() or sys.platform != 'linux':
        return False
    try:
        with open(f'/proc/{starter}/stat', encoding='utf-8', errors='replace') as file:
            return file.read().rpartition(')')[2].split()[0] in 'ZX'
    except OSError:
        return True


def begin_as_child() -> None:
    """
    Prepare a child process before its program is loaded.

    It ends with its parent, and takes no signal before it says how it ends: until then they wait.
    """
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, (
        signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))


END_TIMEOUT = 15.0
"""s after a signal before `end_in_time` ends a process."""


def end_in_time() -> None:
    """
    End this process `END_TIMEOUT` after its next signal with a Python handler; exit code 1.

    For what hangs while nobody is left to kill it. Where every thread stood is then on stderr.
    On Linux the kernel does it 29 s after the signal where even that hangs, as in a call of the
    middleware that keeps the interpreter's lock. Call it once, from the main thread; nothing takes
    it back, since what ends may hang to the last.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # what set_wakeup_fd asks for
    if sys.platform == 'linux':
        # What Python writes at a signal raises SIGIO, whose handler is libc's alarm(2) itself: no
        # line of Python. It takes the signal's number, 29, for seconds; SIGALRM ends a process.
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        libc.signal(signal.SIGIO, ctypes.cast(libc.alarm, ctypes.c_void_p))
        fcntl.fcntl(reader, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
    signal.set_wakeup_fd(writer)

    def wait() -> None:
        os.read(reader, 1)
        faulthandler.dump_traceback_later(END_TIMEOUT, exit=True)

    threading.Thread(target=wait, name='end_in_time', daemon=True).start()


def ending_signals() -> list[signal.Signals]:
    """
    Return the signals that ask for an orderly end: also of a terminal that is closed.

    Unhandled they end a process at once, and its last command stays on the wire. One that is
    ignored from the start (nohup) stays so.
    """
    return [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
            if number in (signal.SIGINT, signal.SIGTERM)
            or signal.getsignal(number) != signal.SIG_IGN]


def take_no_more_signals() -> None:
    """
    Ignore the signals that ask for an orderly end, in a process that has done all of it.

    Python puts the system's handlers back before it lets go of what is loaded, which takes torch
    a second: a launch file's SIGTERM after its SIGINT would end the process with code -15.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def leave(code: int) -> NoReturn:
    """
    End this process with an exit code, once all of its own work is done.

    As the interpreter does, with threads, exit functions and streams, but without taking apart
    what is loaded: that takes torch a second of an orderly end, and five on a busy machine.
    """
    take_no_more_signals()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class Interrupted(KeyboardInterrupt):
    """The operator asked for the end."""


_noted: list[int] = []


def interrupt_and_note(number: int, frame: FrameType | None) -> None:
    """
    Handle SIGINT as Python does, and remember it.

    Within a call of ctypes, as while MuJoCo loads EGL, Python makes an ArgumentError of the
    KeyboardInterrupt, which no longer says what was behind it.
    """
    _noted.append(number)
    raise KeyboardInterrupt


def interrupt_was_noted() -> bool:
    """Return whether `interrupt_and_note` has handled a signal in this process."""
    return bool(_noted)


class Interrupts:
    """
    Handles SIGINT, SIGTERM, SIGHUP and SIGQUIT while its `with` block runs.

    At once, by raising Interrupted; inside `deferred` only where `check` is called.
    """

    def __init__(self) -> None:
        self.requested = 0
        """How often the end was asked for; a launch's SIGTERM after a SIGINT is the same wish."""
        self._counts: dict[int, int] = {}
        self._deferred = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> 'Interrupts':
        """Install the handlers."""
        for number in ending_signals():
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Put the handlers of before back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._counts[number] = self._counts.get(number, 0) + 1
        self.requested = max(self._counts.values())
        if not self._deferred:
            raise Interrupted

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let nothing be interrupted inside the block but at `check`."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    def check(self, times: int = 1) -> None:
        """Raise Interrupted when the end was asked for at least so many times."""
        if self.requested >= times:
            raise Interrupted
