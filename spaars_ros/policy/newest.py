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

"""The newest bundle of several that is whole and fits; the others are named."""

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
    """What was found, and a line for each newer file that was passed over."""

    path: Path | None = None
    bundle: Bundle | None = None
    skipped: list[str] = field(default_factory=list)


def newest_whole(paths: Sequence[Path], fits: Callable[[Bundle], object]) -> Found:
    """
    Return the last of some files, oldest first, that is a bundle and fits.

    :param fits: raises BundleError for a bundle of something else
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
