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

"""Pause of learning by an operator, kept over a restart of the learner."""

from pathlib import Path

from spaars_ros.data.files import write_whole

FILE = 'learning_paused'


class Pause:
    """
    State of the pause.

    In ROS 2 a parameter value is lost on a restart, and a learner restarted after a crash would
    silently continue to learn. Therefore, an empty file in the run folder marks the pause.

    :param folder: run folder
    :param paused: value of the parameter
    """

    def __init__(self, folder: Path, paused: bool) -> None:
        self.file = folder / FILE
        self.kept = self.file.exists()
        """Whether learning was paused when the previous node ended."""
        self.now = self.kept or paused

    def set(self, paused: bool) -> None:
        """Pause or continue; raises OSError if the file cannot be written or removed."""
        self.now = paused
        if paused:
            write_whole(self.file, b'')
        else:
            self.file.unlink(missing_ok=True)
