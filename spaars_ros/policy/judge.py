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

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
import json
from pathlib import Path

import numpy as np
import onnxruntime

from spaars_ros.data.inference import session_options
from spaars_ros.data.schema import Array
from spaars_ros.policy.graph import check_graph
from spaars_ros.policy.graph import GraphError

LARGEST = 64 * 2**20
"""bytes of a file."""
MADE_FOR = 'spaars_ros.made_for'
"""Key of the metadata of an ONNX file that holds `MadeFor`, as JSON."""


class JudgeError(ValueError):
    """A file is no classifier of these observations; the message names it and says why."""


@dataclass(frozen=True)
class Eye:
    """Camera whose vectors a classifier was trained on."""

    topic: str
    """Topic of the vectors."""
    digest: str
    """Digest that they carry: of the encoder's file, its crop, size and scale."""


@dataclass(frozen=True)
class MadeFor:
    """What the observations mean that a classifier was trained on."""

    encoders: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Term -> what makes its values; see `tasks.spec.Term.made_by`."""
    eyes: Mapping[str, Eye] = field(default_factory=dict)
    """Source -> its camera."""

    def to_json(self) -> str:
        """Return the metadata of a file."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def of_json(text: str) -> 'MadeFor':
        """Return what `to_json` wrote; raises ValueError for anything else."""
        try:
            kept = json.loads(text)
            encoders = {str(term): {str(place): str(value) for place, value in fields.items()}
                        for term, fields in kept['encoders'].items()}
            eyes = {str(name): Eye(str(eye['topic']), str(eye['digest']))
                    for name, eye in kept['eyes'].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f'metadata {MADE_FOR}: {type(error).__name__}: {error}') from None
        return MadeFor(encoders, eyes)

    def differences(self, encoders: Mapping[str, Mapping[str, str]]) -> list[str]:
        """Return each difference from the encoders of a task (`TaskSpec.encoders`), in words."""
        lines = []
        for term in {**self.encoders, **encoders}:
            own, other = self.encoders.get(term, {}), encoders.get(term, {})
            lines += [f'{place} was {own.get(place, "none")[:16]}, here it is '
                      f'{other.get(place, "none")[:16]}' for place in {**own, **other}
                      if own.get(place) != other.get(place)]
        return lines


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
        kept = self._session.get_modelmeta().custom_metadata_map
        try:
            self.made_for = MadeFor.of_json(kept[MADE_FOR]) if MADE_FOR in kept else None
        except ValueError as error:
            raise JudgeError(f'{path}: {error}') from None
        if self.width is not None:
            self(np.zeros(self.width))

    def check(self, encoders: Mapping[str, Mapping[str, str]]) -> None:
        """
        Refuse the encoders of a task if the classifier was trained on those of another.

        A file that does not say what it was made for is accepted.

        :param encoders: see `TaskSpec.encoders`
        :raises JudgeError: they differ; the message names the settings
        """
        differ = self.made_for.differences(encoders) if self.made_for is not None else []
        if differ:
            raise JudgeError(f'{self._path}: made for another encoder: {"; ".join(differ)}: '
                             'train the judge again (spaars judge train RUN --task TASK)')

    def check_vector(self, name: str, digest: str) -> None:
        """
        Refuse the vectors of an encoder that the classifier was not trained on.

        :param name: of the source, one of `made_for.eyes`
        :param digest: digest that the vector carries
        :raises JudgeError: another encoder, or other settings, made it
        """
        assert self.made_for is not None
        wanted = self.made_for.eyes[name].digest
        if digest != wanted:
            raise JudgeError(f'{self._path}: made for encoder {wanted[:16]} of camera {name}, '
                             f'this run has {digest[:16] or "none"}: train the judge again on '
                             'runs with this encoder (spaars judge train RUN --task TASK)')

    def unseen(self, names: Sequence[str]) -> str:
        """Return the line for cameras, of `made_for.eyes`, whose vectors nobody publishes."""
        assert self.made_for is not None
        topics = ', '.join(self.made_for.eyes[name].topic for name in names)
        return (f'{self._path}: no vector on {topics}, so that its encoder cannot be compared: '
                'name the task file of the run with --task')

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
