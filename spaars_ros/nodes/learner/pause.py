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

"""Learning that an operator paused, also after the learner was started again."""

from pathlib import Path

from spaars_ros.data.files import write_whole

FILE = 'learning_paused'


class Pause:
    """
    Whether learning rests.

    The parameter is gone after a restart, as in ROS 2 everywhere; a learner that came back after a
    crash would learn on without a word, so an empty file in the run folder says it, too.

    :param folder: of the run
    :param paused: the parameter's value
    """

    def __init__(self, folder: Path, paused: bool) -> None:
        self.file = folder / FILE
        self.kept = self.file.exists()
        """Whether it rested when the node before this one ended."""
        self.now = self.kept or paused

    def set(self, paused: bool) -> None:
        """Rest, or go on; raises OSError where the file cannot be written or removed."""
        self.now = paused
        if paused:
            write_whole(self.file, b'')
        else:
            self.file.unlink(missing_ok=True)
