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

"""Images from messages and files to arrays: formats, crop, size."""

from collections.abc import Sequence
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""(h, w, 3) red, green, blue."""

MAX_PIXELS = 16_777_216
"""Pixels per image; a larger image is rejected before it is unpacked."""
CHANNELS = {'rgb8': (3, (0, 1, 2)), 'bgr8': (3, (2, 1, 0)), 'rgba8': (4, (0, 1, 2)),
            'bgra8': (4, (2, 1, 0)), 'mono8': (1, (0, 0, 0)), '8UC1': (1, (0, 0, 0)),
            '8UC3': (3, (2, 1, 0))}
"""Encoding of sensor_msgs/Image -> bytes per pixel, and the places of red, green, blue."""
FORMATS = ('JPEG', 'PNG')
"""Accepted formats of sensor_msgs/CompressedImage."""


class ImageError(ValueError):
    """
    An image cannot be used.

    :param code: upper-case name, for instance BLANK
    :param text: why, for people
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f'{code}: {text}')
        self.code = code
        self.text = text


def pixels_of(encoding: str, width: int, height: int, step: int, data: Any) -> Pixels:
    """
    Return the pixels (h, w, 3) of a sensor_msgs/Image.

    :param encoding: one of `CHANNELS`
    :param width: pixels
    :param height: pixels
    :param step: bytes per row, with padding; 0: without padding
    :param data: a buffer of bytes
    :raises ImageError: the encoding is unknown, or the number of bytes is wrong
    """
    if encoding not in CHANNELS:
        raise ImageError('UNKNOWN_ENCODING', f'{encoding[:40]!r} is none of '
                         f'{", ".join(CHANNELS)}: set it in the camera\'s driver')
    size, order = CHANNELS[encoding]
    if not (0 < width and 0 < height and width * height <= MAX_PIXELS):
        raise ImageError('WRONG_SIZE', f'{width}x{height} pixels')
    step = step or width * size
    flat = np.frombuffer(data, np.uint8)
    if step < width * size or len(flat) != step * height:
        raise ImageError('WRONG_SIZE', f'{len(flat)} bytes for {width}x{height} pixels of '
                         f'{encoding} in rows of {step} bytes')
    rows = flat.reshape(height, step)[:, :width * size].reshape(height, width, size)
    return rows if order == (0, 1, 2) and size == 3 else rows[:, :, list(order)]


def decompress(data: Any) -> Pixels:
    """Return the pixels (h, w, 3) of a JPEG or PNG; raise ImageError."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError('WRONG_SIZE', f'{image.width}x{image.height} pixels')
            return np.asarray(image.convert('RGB'))
    except ImageError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds
        raise ImageError('UNREADABLE', f'neither JPEG nor PNG: {type(error).__name__}') from None


def jpeg_of(image: Pixels, quality: int = 90) -> bytes:
    """
    Return an image (h, w, 3) as JPEG; `quality` as in Pillow, 1 to 95.

    Colours keep their full resolution: halved, a small object changes so much that what is learned
    from kept frames does not hold for the camera's images.
    """
    out = io.BytesIO()
    Image.fromarray(image).save(out, 'JPEG', quality=quality, subsampling=0)
    return out.getvalue()


def fit_image(image: Pixels, crop: Sequence[float], size: tuple[int, int]) -> Pixels:
    """
    Return a part of an image (h, w, 3) in another size, with a filter against aliasing.

    :param image: (h, w, 3)
    :param crop: left, top, right, bottom as shares of the image
    :param size: width and height, pixels
    """
    height, width = image.shape[:2]
    left, top = round(crop[0] * width), round(crop[1] * height)
    right, bottom = max(round(crop[2] * width), left + 1), max(round(crop[3] * height), top + 1)
    part = image[top:bottom, left:right]
    if part.shape[:2] == (size[1], size[0]):
        return part
    return np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize(
        size, Image.Resampling.BILINEAR))


def contrast_of(image: Pixels) -> tuple[float, float]:
    """Return the mean brightness and the largest standard deviation of a colour, of 255."""
    # A few thousand pixels are as good as a million.
    seen = image[::max(1, image.shape[0] // 64), ::max(1, image.shape[1] // 64)]
    return float(seen.mean()), float(seen.std(axis=(0, 1)).max())
