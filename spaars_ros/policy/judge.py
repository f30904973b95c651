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

"""Classifier of success: an ONNX graph from an observation to the likelihood of success."""

from pathlib import Path

import numpy as np
import onnxruntime

from spaars_ros.data.inference import session_options
from spaars_ros.data.schema import Array
from spaars_ros.policy.graph import check_graph
from spaars_ros.policy.graph import GraphError

LARGEST = 64 * 2**20
"""bytes of a file."""


class JudgeError(ValueError):
    """A file is no classifier of these observations; the message names it and says why."""


class Judge:
    """
    Compute how likely the task is done, from an observation in physical units.

    Any graph of known operators with one input (batch, n) and one output of one value per
    observation.

    :param path: of the ONNX file
    :raises JudgeError: it cannot be used
    """

    def __init__(self, path: Path) -> None:
        try:
            if path.stat().st_size > LARGEST:
                raise JudgeError(f'{path}: more than {LARGEST // 2**20} MiB')
            data = path.read_bytes()
            check_graph(data)
            self._session = onnxruntime.InferenceSession(data, session_options(),
                                                         providers=['CPUExecutionProvider'])
        except OSError as error:
            raise JudgeError(f'{path}: {error.strerror}') from None
        except GraphError as error:
            raise JudgeError(f'{path}: {error}') from None
        except JudgeError:
            raise
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's classes are no public ones
            text = ' '.join(str(error).split())
            raise JudgeError(f'{path}: {text[:200]}') from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 2:
            raise JudgeError(f'{path}: a classifier has one input (batch, n) and one output; this '
                             f'has {[each.shape for each in inputs]} and {len(outputs)} outputs')
        width = inputs[0].shape[1]
        self.width = width if isinstance(width, int) else None
        """n; None: any width."""
        self._input, self._path = inputs[0].name, path
        if self.width is not None:
            self(np.zeros(self.width))

    def __call__(self, observation: Array) -> float:
        """
        Return how likely the task is done for an observation (n,).

        :raises JudgeError: wrong width, or the output is not one finite value
        """
        if self.width is not None and len(observation) != self.width:
            raise JudgeError(f'{self._path}: a classifier of {self.width} values, the task '
                             f'observes {len(observation)}')
        try:
            values, = self._session.run(None, {
                self._input: np.asarray(observation, dtype=np.float32)[None]})
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's classes are no public ones
            text = ' '.join(str(error).split())
            raise JudgeError(f'{self._path}: {text[:200]}') from None
        if np.size(values) != 1 or not np.isfinite(values).all():
            raise JudgeError(f'{self._path}: answers {np.size(values)} values, expected a finite '
                             'one for each observation')
        return float(np.ravel(values)[0])
