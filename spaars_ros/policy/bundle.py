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

"""
The policy bundle: one file with everything the policy server runs; parsed, never unpickled.

Layout: MAGIC, the header's length as 8 bytes little endian, the header (JSON: manifest and a
table of parts with name, size), the parts one after the other, SHA-256 of all before it.
"""

import hashlib
import io
import json
import os
from pathlib import Path
import tempfile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError

MAGIC = b'SPAARS1\n'
DIGEST = hashlib.sha256().digest_size
MAX_BYTES = 256 * 2**20
"""A larger file is refused before anything of it is read."""

GRAPHS = ('policy',)


class BundleError(ValueError):
    """A bundle is refused; `reason` is a short stable name, `detail` says what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f'{reason}: {detail}')
        self.reason = reason
        self.detail = detail


class Exploration(BaseModel):
    """The Gaussian exploration noise: standard deviations and correlation."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    latent: float = Field(0.0, ge=0, le=2, description='of the latent action')
    raw: float = Field(0.0, ge=0, le=1, description='of the normalised raw action')
    correlation: float = Field(0.0, ge=0, lt=1, description='of the noise from tick to tick')


class Manifest(BaseModel):
    """What the graphs are for and how the gate uses them."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    robot: str
    task: str
    joints: list[str]
    observation_dim: int = Field(gt=0)
    latent_dim: int = Field(gt=0)
    action_dim: int = Field(gt=0)
    action_scale: float = Field(gt=0, le=1, description='joint velocity share at |action| = 1')
    observation_mean: list[float]
    observation_std: list[float]
    latent_bound: float = Field(gt=0)
    mode: str = Field('gated', pattern='^(gated|latent-only|raw-only)$')
    gate_open: bool = Field(False, description='raw actions allowed where the gate fires')
    margin: float = Field(0.0, ge=0, description='advantage that raw has to exceed')
    kappa: float = Field(1.0, ge=0, description='standard deviations below the mean advantage')
    trust: float = Field(0.05, gt=0, le=2, description='raw stays within +- trust of decoder')
    exploration: Exploration = Exploration()
    multipliers: list[float] = []
    algorithm: str = 'spaars'
    phase: str = 'offline'
    version: int = Field(0, ge=0)
    parent_version: int = Field(-1, ge=-1)
    created: str = ''


class Bundle:
    """
    A policy: manifest, ONNX graphs by name, canaries and extra parts.

    :param graphs: ONNX bytes of `GRAPHS`; `policy` computes latent policy, decoder, raw policy
        and critic in one call
    :param canaries: `observation` (m, n) and the outputs expected for it: `latent` (m, k),
        `latent_action` (m, d), `raw_action` (m, d), `q_latent` and `q_raw` (m, heads, 1 + C)
    :param extras: parts that the server ignores, such as the learner's tensors
    """

    def __init__(self, manifest: Manifest, graphs: dict[str, bytes],
                 canaries: dict[str, NDArray[np.float32]],
                 extras: dict[str, bytes] | None = None) -> None:
        self.manifest = manifest
        self.graphs = graphs
        self.canaries = canaries
        self.extras = extras or {}

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        parts = {f'graph/{name}': data for name, data in self.graphs.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **self.canaries)  # type: ignore[arg-type]
        parts['canaries.npz'] = buffer.getvalue()
        parts.update({f'extra/{name}': data for name, data in self.extras.items()})
        header = json.dumps({
            'manifest': self.manifest.model_dump(),
            'parts': [{'name': name, 'size': len(data)} for name, data in parts.items()],
        }).encode()
        body = b''.join([MAGIC, len(header).to_bytes(8, 'little'), header, *parts.values()])
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> 'Bundle':
        """Parse a file's content; raises BundleError on anything that is not whole and right."""
        if len(data) > MAX_BYTES:
            raise BundleError('too_large', f'{len(data)} bytes, at most {MAX_BYTES}')
        if not data.startswith(MAGIC):
            raise BundleError('not_a_bundle', f'starts with {data[:8]!r}, expected {MAGIC!r}')
        start = len(MAGIC) + 8
        if len(data) < start + DIGEST:
            raise BundleError('truncated', f'{len(data)} bytes')
        digest = hashlib.sha256(memoryview(data)[:-DIGEST]).digest()
        if digest != data[-DIGEST:]:
            raise BundleError('wrong_digest', f'SHA-256 of the content is {digest.hex()[:16]}..., '
                                              f'the file says {data[-DIGEST:].hex()[:16]}...')
        size = int.from_bytes(data[len(MAGIC):start], 'little')
        end = len(data) - DIGEST
        if size > end - start:
            raise BundleError('truncated', f'a header of {size} bytes does not fit')
        try:
            header = json.loads(data[start:start + size])
            manifest = Manifest(**header['manifest'])
            table = [(str(part['name']), int(part['size'])) for part in header['parts']]
        except ValidationError as error:
            first = error.errors()[0]
            raise BundleError('bad_manifest', f'{".".join(map(str, first["loc"]))}: '
                                              f'{first["msg"]}') from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleError('bad_header', repr(error)) from None
        offset = start + size
        parts: dict[str, bytes] = {}
        for name, length in table:
            if length < 0 or offset + length > end:
                raise BundleError('truncated', f'part {name} of {length} bytes does not fit')
            if name in parts:
                raise BundleError('bad_header', f'part {name} appears twice')
            parts[name] = data[offset:offset + length]
            offset += length
        if offset != end:
            raise BundleError('bad_header', f'{end - offset} bytes belong to no part')
        graphs = {name: parts[f'graph/{name}'] for name in GRAPHS if f'graph/{name}' in parts}
        missing = [name for name in GRAPHS if name not in graphs]
        if missing or 'canaries.npz' not in parts:
            raise BundleError('missing_part', ', '.join(missing) or 'canaries.npz')
        extras = {name[len('extra/'):]: part for name, part in parts.items()
                  if name.startswith('extra/')}
        return cls(manifest, graphs, _read_arrays(parts['canaries.npz']), extras)


def _read_arrays(data: bytes) -> dict[str, NDArray[np.float32]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: np.asarray(archive[name], dtype=np.float32) for name in archive.files}
    except Exception as error:  # noqa: BLE001 - zipfile and numpy raise a dozen kinds
        raise BundleError('bad_canaries', repr(error)) from None


def save_bundle(bundle: Bundle, path: Path) -> None:
    """Write a bundle so that the file is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix='.part')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(bundle.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_bundle(path: Path) -> Bundle:
    """Read a bundle file; raises BundleError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BundleError('unreadable', f'{path}: {error.strerror}') from None
    return Bundle.from_bytes(data)
