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

"""Faults of cameras: images that are lost, late, frozen, black or of another format."""

from collections.abc import Mapping

import numpy as np

from spaars_ros.vision.images import Pixels

Images = Mapping[str, Pixels]
"""Source -> image (h, w, 3)."""
NAMES = ('camera_drop', 'camera_delay', 'camera_frozen', 'camera_black', 'camera_size')


class CameraFaults:
    """Apply faults to the images of cameras; the same seed gives the same result."""

    def __init__(self, *, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 31])
        self._late: list[tuple[int, int, Images]] = []
        self._frozen: dict[str, Pixels] = {}

    def clear(self) -> None:
        """Discard delayed images, for a reset of the arm."""
        self._late.clear()
        self._frozen.clear()

    def shown(self, now_ns: int, images: Images, faults: Mapping[str, float]
              ) -> list[tuple[int, str, Pixels]]:
        """
        Return (stamp in ns, source, image) to publish now, in order.

        :param now_ns: stamp of the images, ns
        :param images: images taken now
        :param faults: value of every fault
        """
        if not any(faults[name] for name in NAMES) and not self._late:
            return [(now_ns, name, image) for name, image in images.items()]
        seen = {}
        for name, image in images.items():
            if faults['camera_frozen']:
                image = self._frozen.setdefault(name, image)
            if faults['camera_black']:
                image = np.zeros_like(image)
            if faults['camera_size']:
                image = np.ascontiguousarray(image[::2, ::2])
            if self._rng.random() >= faults['camera_drop']:
                seen[name] = image
        if not faults['camera_frozen']:
            self._frozen.clear()
        self._late.append((now_ns + round(1e9 * faults['camera_delay']), now_ns, seen))
        due = [one for one in self._late if one[0] <= now_ns]
        self._late = [one for one in self._late if one[0] > now_ns]
        return [(stamp, name, image) for _, stamp, part in due for name, image in part.items()]
