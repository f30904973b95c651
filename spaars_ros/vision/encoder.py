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

"""ONNX encoder of images to vectors, the same for live cameras, simulation and recordings."""

from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
import onnxruntime

from spaars_ros.data.inference import session_options
from spaars_ros.data.schema import Array
from spaars_ros.robot.sources import Source
from spaars_ros.vision.encoder_file import camera_of
from spaars_ros.vision.encoder_file import digest_of
from spaars_ros.vision.encoder_file import EncoderError
from spaars_ros.vision.encoder_file import input_size
from spaars_ros.vision.encoder_file import read_encoder
from spaars_ros.vision.images import contrast_of
from spaars_ros.vision.images import fit_image
from spaars_ros.vision.images import ImageError
from spaars_ros.vision.images import Pixels

PROVIDERS = {'cpu': 'CPUExecutionProvider', 'cuda': 'CUDAExecutionProvider'}


class Encoder:
    """
    Encode the images of one camera.

    :param source: a source with a camera
    :param provider: cpu, cuda, or auto, which uses cuda where it is available
    :param threads: of the CPU
    :raises EncoderError: the file is no encoder, or the provider is not available
    """

    def __init__(self, source: Source, *, provider: str = 'cpu', threads: int = 1) -> None:
        self.source = source
        self.file = read_encoder(camera_of(source).encoder)
        self.digest = digest_of(source)
        self._camera = camera_of(source)
        self._size = input_size(source)
        self._seen: tuple[int, int] | None = self._camera.size
        self._mean, self._std = (np.asarray(values, np.float32)
                                 for values in (self._camera.mean, self._camera.std))
        self._session = _session(self.file.path, provider, threads)
        self.provider = self._session.get_providers()[0]
        width = len(self._run(np.zeros((*self._size[::-1], 3), np.uint8)))
        if width != self.file.features:
            raise EncoderError(f'encoder {self.file.path}: it makes {width} values, its file says '
                               f'{self.file.features}')

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the images that a simulated camera has to render."""
        return self._camera.size or self._size

    def encode(self, image: Pixels) -> Array:
        """
        Return the values (k,) of an image (h, w, 3).

        :raises ImageError: its size differs from earlier images or the camera's, it has no
            contrast, or its values are not finite
        """
        here = (image.shape[1], image.shape[0])
        if self._seen is None:
            self._seen = here
        if here != self._seen:
            raise ImageError('WRONG_SIZE', f'{here[0]}x{here[1]} pixels, expected '
                             f'{self._seen[0]}x{self._seen[1]}')
        if self._camera.contrast:
            mean, spread = contrast_of(image)
            if spread < self._camera.contrast:
                raise ImageError('BLANK', f'the image shows nothing: brightness {mean:.0f} +- '
                                 f'{spread:.1f} of 255, at least +- {self._camera.contrast:g}: '
                                 'look at lens, light and exposure')
        values = self._run(image)
        if not np.isfinite(values).all():
            raise ImageError('NOT_FINITE', f'encoder {self.file.path.name} makes '
                             f'{values[~np.isfinite(values)][0]} of the image')
        return values

    def _run(self, image: Pixels) -> Array:
        ready = fit_image(image, self._camera.crop, self._size)
        given: NDArray[Any] = np.ascontiguousarray(ready)
        if self.file.kind == 'float32':
            given = (given.astype(np.float32) / 255.0 - self._mean) / self._std
        if self.file.first:
            given = np.ascontiguousarray(given.transpose(2, 0, 1))
        try:
            (values,) = self._session.run([self.file.output], {self.file.name: given[None]})
        except Exception as error:  # ONNX Runtime raises several unrelated kinds
            raise EncoderError(f'encoder {self.file.path}: {error}'.splitlines()[0]) from None
        return np.asarray(values, dtype=np.float64).reshape(-1)


def _session(path: object, provider: str, threads: int) -> onnxruntime.InferenceSession:
    there = onnxruntime.get_available_providers()
    chosen = [PROVIDERS['cuda'], PROVIDERS['cpu']] if provider == 'auto' \
        and PROVIDERS['cuda'] in there else [PROVIDERS.get(provider, PROVIDERS['cpu'])]
    if chosen[0] not in there:
        raise EncoderError(f'provider {provider}: ONNX Runtime has {", ".join(there)} here: '
                           'install onnxruntime-gpu in place of onnxruntime, or use cpu')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return onnxruntime.InferenceSession(str(path), session_options(threads),
                                                providers=chosen)
    except Exception as error:  # the C++ side raises several unrelated kinds
        raise EncoderError(f'encoder {path}: {error}'.splitlines()[0]) from None
