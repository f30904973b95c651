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

"""Commands in separate terminals, for tests with a person at the keyboard."""

import os
from pathlib import Path
import pty
import signal
import subprocess
import sys
import time

SPAARS = [sys.executable, '-m', 'spaars_ros.cli']


PATIENT = """\
/**/policy_server:
  ros__parameters:
    max_observation_age: 20.0
"""
"""Parameters for a busy machine."""


class Terminal:
    """A command in a separate terminal."""

    def __init__(self, *command: str, env: dict[str, str], log: Path) -> None:
        self.place, other = pty.openpty()
        self.log = log
        with open(log, 'wb') as file:
            self.process = subprocess.Popen([*SPAARS, *command], stdin=other, stdout=file,
                                            stderr=file, env=env, start_new_session=True)
        os.close(other)

    def type(self, keys: str, seconds: float = 0.0) -> None:
        """Hold keys down for `seconds`, repeated as by a terminal."""
        end = time.monotonic() + seconds
        while True:
            os.write(self.place, keys.encode())
            if time.monotonic() >= end:
                return
            time.sleep(0.05)

    @property
    def text(self) -> str:
        return self.log.read_text(errors='replace')

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)
