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

"""Choice of the newest of several bundle files that is complete and fits."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import load_bundle


@dataclass(frozen=True)
class Found:
    """The chosen bundle, and one line for each newer file that was skipped."""

    path: Path | None = None
    bundle: Bundle | None = None
    skipped: list[str] = field(default_factory=list)


def newest_whole(paths: Sequence[Path], fits: Callable[[Bundle], object]) -> Found:
    """
    Return the newest of some files that is a valid bundle and fits.

    :param paths: files, oldest first
    :param fits: raises BundleError for a bundle that does not fit
    """
    skipped: list[str] = []
    for path in reversed(paths):
        try:
            bundle = load_bundle(path)
            try:
                fits(bundle)
            except BundleError as error:
                raise BundleError(error.reason, f'{path}: {error.detail}') from None
        except BundleError as error:
            skipped.append(f'passed over, {error}')
            continue
        return Found(path, bundle, skipped)
    return Found(skipped=skipped)
