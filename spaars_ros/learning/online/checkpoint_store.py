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

"""Folder of checkpoints, from which a run resumes."""

from pathlib import Path
import time

from spaars_ros.checkpoint_files import checkpoints_in
from spaars_ros.checkpoint_files import steps_of
from spaars_ros.learning.online.checkpoint import not_finite
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import Manifest
from spaars_ros.policy.newest import newest_whole

KEEP = 3
SAME = ('robot', 'task', 'joints', 'algorithm', 'observation_dim', 'latent_dim', 'action_dim')
"""Fields of the manifest that are equal in all checkpoints of a run."""
RETRY = 2.0
"""s between attempts after a failed write, monotonic clock."""


class CheckpointStore:
    """
    Keeps the newest three checkpoints `step_<steps>.spaars` of a run.

    :param directory: created with the first checkpoint; its parent has to exist
    :param every: environment steps between checkpoints
    """

    def __init__(self, directory: Path, every: int) -> None:
        self.directory = directory
        self.every = every
        self.error = ''
        """Error of the last write, '' after a success."""
        self.skipped: list[str] = []
        """Checkpoints that `newest` skipped, with the reason, one line each."""
        self.last: Path | None = None
        self._saved_at = 0
        self._retry_at = 0.0

    def newest(self, like: Manifest) -> Bundle | None:
        """
        Return the newest valid checkpoint; None if there is none.

        :param like: manifest of the run's first bundle; checkpoints of other runs are skipped
        """
        def fits(bundle: Bundle) -> None:
            for name in SAME:
                mine, found = getattr(like, name), getattr(bundle.manifest, name)
                if found != mine:
                    raise BundleError('of_another_run', f'{name} {found!r}, the run has {mine!r}')
            bad = not_finite(bundle)
            if bad:
                raise BundleError('not_finite', f'{bad} is not finite: it learned from a record '
                                                'that no robot wrote')
        found = newest_whole(self.paths(), fits)
        self.skipped = found.skipped
        if found.path is not None:
            self._saved_at, self.last = steps_of(found.path), found.path
        return found.bundle

    def paths(self) -> list[Path]:
        """Return the checkpoint files, oldest first."""
        return checkpoints_in(self.directory)

    def due(self, steps: int) -> bool:
        """Return whether the next checkpoint is due after `steps` environment steps."""
        return steps - self._saved_at >= self.every

    @property
    def retry_due(self) -> bool:
        """Return whether the last write failed and the next attempt is due."""
        return bool(self.error) and time.monotonic() >= self._retry_at

    def save(self, tuner: FineTuner) -> bool:
        """Write a checkpoint, delete old ones; on failure return False and set `error`."""
        path = self.directory / f'step_{tuner.steps:06d}.spaars'
        try:
            # Without parents: a run folder that was deleted must not be created again.
            self.directory.mkdir(exist_ok=True)
            tuner.save(path)
        except OSError as error:
            self.error = f'{path}: {error.strerror}'
            self._retry_at = time.monotonic() + RETRY
            return False
        self.error, self.last, self._saved_at = '', path, tuner.steps
        for old in self.paths()[:-KEEP]:
            old.unlink(missing_ok=True)
        return True
