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

"""Handling of Ctrl-C and other termination signals: orderly shutdown at a safe point."""

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
"""Parent's process id at the import of this module."""
STARTED_BY = 'SPAARS_ROS_STARTED_BY'
"""Environment variable with the process id of the launch or command that started a process."""


def die_with_parent() -> None:
    """Ask Linux to send SIGTERM to this process when its parent ends, even by SIGKILL."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


def load_glfw_here() -> None:
    """
    Set the environment so that MuJoCo's import loads the GLFW library of the wheel directly.

    Otherwise the package `glfw` queries the version of each library in a separate process, which
    prints a traceback if a signal interrupts the import.
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
    Return whether the process that started this one has ended; call after `die_with_parent`.

    The kernel does not report a starter that ended before that call: during the imports, or
    before rclpy's wheels re-executed this process.
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

    It ends with its parent. Termination signals are blocked, and stay pending until the program
    unblocks them after installing its handlers.
    """
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, (
        signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))


END_TIMEOUT = 15.0
"""s from a signal until `end_in_time` ends the process."""


def end_in_time() -> None:
    """
    End this process `END_TIMEOUT` after its next signal with a Python handler; exit code 1.

    It is for a shutdown that hangs with no other process left to kill it. The stacks of all
    threads are then written to stderr. If even that hangs, as in a middleware call that holds the
    interpreter's lock, on Linux the kernel ends the process 29 s after the signal. Call it once,
    from the main thread. It cannot be undone, since a shutdown may hang until its very end.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # required by set_wakeup_fd
    if sys.platform == 'linux':
        # At a signal Python writes to the pipe, which raises SIGIO. The handler of SIGIO is libc's
        # alarm(2) itself, without any Python code: it takes the signal's number, 29, as seconds.
        # SIGALRM then ends the process.
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
    Return the signals that request an orderly shutdown, also when a terminal is closed.

    Unhandled, they end a process at once, and its last command stays in effect. SIGHUP and SIGQUIT
    are left out if they are ignored from the start (nohup).
    """
    return [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
            if number in (signal.SIGINT, signal.SIGTERM)
            or signal.getsignal(number) != signal.SIG_IGN]


def take_no_more_signals() -> None:
    """
    Ignore the signals that request an orderly shutdown, after the shutdown is complete.

    Python restores the system's handlers before it unloads the modules, which takes a second with
    torch. A SIGTERM that a launch file sends after its SIGINT would then end the process with code
    -15.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def leave(code: int) -> NoReturn:
    """
    Exit with a code after all work is done, without unloading modules.

    As the interpreter does, it waits for threads, runs exit functions and flushes the streams.
    Unloading would take a second with torch, and five on a busy machine.
    """
    take_no_more_signals()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class Interrupted(KeyboardInterrupt):
    """An orderly shutdown was requested."""


_noted: list[int] = []


def interrupt_and_note(number: int, frame: FrameType | None) -> None:
    """
    Handle SIGINT as Python does, by KeyboardInterrupt, and record it.

    Within a ctypes call, for example while MuJoCo loads EGL, Python turns the KeyboardInterrupt
    into an ArgumentError, which does not show its cause.
    """
    _noted.append(number)
    raise KeyboardInterrupt


def interrupt_was_noted() -> bool:
    """Return whether `interrupt_and_note` has handled a signal in this process."""
    return bool(_noted)


class Interrupts:
    """
    Context manager that handles SIGINT, SIGTERM, SIGHUP and SIGQUIT.

    It raises Interrupted at once; inside `deferred` only where `check` is called.
    """

    def __init__(self) -> None:
        self.requested = 0
        """Highest count of one signal; a launch's SIGTERM after a SIGINT is the same request."""
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
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._counts[number] = self._counts.get(number, 0) + 1
        self.requested = max(self._counts.values())
        if not self._deferred:
            raise Interrupted

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer interrupts within the context to calls of `check`."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    def check(self, times: int = 1) -> None:
        """Raise Interrupted if the shutdown was requested at least `times` times."""
        if self.requested >= times:
            raise Interrupted
