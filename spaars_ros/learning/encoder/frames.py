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

"""Load frames of runs and bags into one array, in the order of their stamps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spaars_ros.vision.frames import read_frames
from spaars_ros.vision.images import fit_image
from spaars_ros.vision.images import ImageError

GAP = 0.5
"""s, maximum distance in time of consecutive frames."""
NANO = 1_000_000_000


def load_frames(paths: Sequence[Path], *, topic: str, size: int, crop: Sequence[float],
                most: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """
    Return images (N, size, size, 3), and (N,) whether each one directly follows its predecessor.

    If there are more than `most` frames, only every second, third, ... is used.

    :param topic: image topic
    :param size: edge of the images, pixels
    :param crop: part of each frame; see `fit_image`
    :param most: maximum number of images
    :raises FramesError: a folder or file has no frames
    """
    found = []
    for number, path in enumerate(paths):
        found += [(number, frame.topic, frame.stamp_ns, frame)
                  for frame in read_frames(path, topic)]
    found.sort(key=lambda one: one[:3])
    every = -(-len(found) // most)
    images: list[NDArray[np.uint8]] = []
    follows: list[bool] = []
    before: tuple[int, str, int] | None = None
    for number, name, stamp, frame in found[::every]:
        try:
            images.append(fit_image(frame.pixels(), crop, (size, size)))
        except ImageError:
            before = None  # a gap: the next frame has no predecessor
            continue
        follows.append(before is not None and before[:2] == (number, name)
                       and stamp - before[2] < GAP * every * NANO)
        before = number, name, stamp
    return np.asarray(images), np.asarray(follows)
