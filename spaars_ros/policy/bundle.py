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
Policy bundle: one file with everything the policy server runs; parsed, never unpickled.

Layout: MAGIC, the header's length as 8 bytes little endian, the header (JSON: manifest and a table
of parts with name and size), the parts in order, SHA-256 of all bytes before it.

A signed bundle has `signature` as its last part: 64 bytes, Ed25519 over all bytes before it (see
signing.py). A reader without a public key ignores that part, and accepts bundles without it.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Optional
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError

from spaars_ros.data.files import write_whole
from spaars_ros.policy.arrays import ArrayError
from spaars_ros.policy.arrays import read_arrays
from spaars_ros.robot.contract import Contract

if TYPE_CHECKING:
    from spaars_ros.policy.signing import Signer
    from spaars_ros.policy.signing import Verifier

MAGIC = b'SPAARS1\n'
DIGEST = hashlib.sha256().digest_size
MAX_BYTES = 256 * 2**20
"""A larger file is rejected before it is read."""
MAX_HEADER = 2**20
"""bytes; small JSON can become large in memory."""
MAX_DETAIL = 400
SIGNATURE = 'signature'
SIGNATURE_BYTES = 64
MAX_DIMENSION = 100_000
MAX_SKILL = 1000
MAX_VERSION = 2**53
"""Versions are transmitted as float64."""

GRAPHS = ('policy',)


class BundleError(ValueError):
    """
    A bundle is rejected; `reason` is a short stable name, `detail` describes the problem.

    The detail may quote the bundle. So it is shortened, and reduced to printable ASCII.
    """

    def __init__(self, reason: str, detail: str) -> None:
        detail = detail[:MAX_DETAIL].encode('ascii', 'backslashreplace').decode()
        detail = ''.join(c if c.isprintable() else repr(c)[1:-1] for c in detail)
        super().__init__(f'{reason}: {detail}')
        self.reason = reason
        self.detail = detail


class Exploration(BaseModel):
    """Gaussian exploration noise: standard deviations and correlation."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    latent: float = Field(
        0.0, ge=0, le=2, description='standard deviation of the noise on the latent action')
    raw: float = Field(
        0.0, ge=0, le=1, description='standard deviation of the noise on the normalised raw '
        'action')
    correlation: float = Field(
        0.0, ge=0, lt=1, description='correlation of the noise from tick to tick')


class Manifest(BaseModel):
    """Description of the graphs, and the parameters of the gate."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    robot: str
    task: str
    joints: list[str]
    observation_dim: int = Field(gt=0, le=MAX_DIMENSION)
    latent_dim: int = Field(gt=0, le=MAX_DIMENSION)
    action_dim: int = Field(gt=0, le=MAX_DIMENSION)
    observation_terms: dict[str, int] = Field(
        {}, max_length=1000, description='width of each observation term, in order; none in '
        'bundles of 0.1.0')
    encoders: dict[str, dict[str, str]] = Field(
        {}, max_length=1000, description='term -> camera field -> value, for terms that an '
        'encoder computes: the digest of its file, and its input settings')
    action: str = Field('', max_length=1000, description='meaning of the action, in words')
    action_scale: float = Field(gt=0, le=1, description='joint velocity share at |action| = 1')
    observation_mean: list[float]
    observation_std: list[float]
    latent_bound: float = Field(gt=0)
    skill_length: int = Field(
        1, ge=1, le=MAX_SKILL, description='ticks for which a latent action is held: H of skills, '
        '1 if every tick has its own')
    decoder: str = Field(
        '', max_length=64, description='digest of the decoder: a skill continues through a swap '
        'only if it means the same')
    mode: str = Field('gated', pattern='^(gated|latent-only|raw-only)$')
    gate_open: bool = Field(False, description='raw actions are allowed where the gate fires')
    margin: float = Field(0.0, ge=0, description='advantage that the raw action has to exceed')
    kappa: float = Field(1.0, ge=0, description='standard deviations below the mean advantage')
    floor: bool = Field(False, description='the pretrained action competes in every state and '
                        'acts until another is better')
    floor_margin: float = Field(
        0.0, ge=0, description='advantage over it that the latent action has to exceed; raw '
        'action: margin')
    trust: float = Field(
        0.05, gt=0, le=2, description='half-width of the trust box about the decoded action')
    exploration: Exploration = Exploration()
    multipliers: list[Annotated[float, Field(ge=0)]] = []
    algorithm: str = 'spaars'
    phase: str = 'offline'
    version: int = Field(0, ge=0, le=MAX_VERSION)
    parent_version: int = Field(-1, ge=-1, le=MAX_VERSION)
    created: str = ''
    contract: Optional[Contract] = Field(
        None, description='meaning of actions and ticks; bundles of 0.1.0 have none')


class Part(BaseModel):
    """One entry of the header's table of parts."""

    name: str
    size: int = Field(ge=0)


class Bundle:
    """
    A policy: manifest, ONNX graphs by name, golden outputs and extra parts.

    :param manifest: description of the graphs, and the parameters of the gate
    :param graphs: ONNX bytes of `GRAPHS`; `policy` computes latent policy, decoder, raw policy and
        critic in one call
    :param golden_outputs: `observation` (m, n) and the outputs expected for it: `latent` (m, k),
        `latent_action` (m, a), `raw_action` (m, a), `q_latent` and `q_raw` (m, heads, 1 + C); with
        a floor also `anchor_latent`, `anchor_action` and `q_anchor` of the pretrained policy; with
        skills also the inputs `skill` (m, k) and `fresh` (m, 1), 1 or 0, where both have to occur
    :param extras: parts that the server ignores, such as the learner's tensors
    """

    def __init__(self, manifest: Manifest, graphs: dict[str, bytes],
                 golden_outputs: dict[str, NDArray[np.float32]],
                 extras: dict[str, bytes] | None = None) -> None:
        self.manifest = manifest
        self.graphs = graphs
        self.golden_outputs = golden_outputs
        self.extras = extras or {}

    def to_bytes(self, signer: 'Signer | None' = None) -> bytes:
        """Return the file's content, signed where there is a signer."""
        parts = {f'graph/{name}': data for name, data in self.graphs.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **self.golden_outputs)  # type: ignore[arg-type]
        parts['canaries.npz'] = buffer.getvalue()
        parts.update({f'extra/{name}': data for name, data in self.extras.items()})
        table = [{'name': name, 'size': len(data)} for name, data in parts.items()]
        if signer is not None:
            table.append({'name': SIGNATURE, 'size': SIGNATURE_BYTES})
        header = json.dumps({'manifest': self.manifest.model_dump(), 'parts': table}).encode()
        body = b''.join([MAGIC, len(header).to_bytes(8, 'little'), header, *parts.values()])
        if signer is not None:
            body += signer.sign(body)
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes, verifier: 'Verifier | None' = None) -> 'Bundle':
        """
        Parse a file's content.

        :param data: the file's content
        :param verifier: rejects a bundle that its key did not sign
        :raises BundleError: the content is incomplete or invalid
        """
        if len(data) > MAX_BYTES:
            raise BundleError('too_large', f'{len(data)} bytes, at most {MAX_BYTES}')
        if not data.startswith(MAGIC):
            raise BundleError('not_a_bundle', f'starts with {data[:8]!r}, expected {MAGIC!r}')
        start, end = len(MAGIC) + 8, len(data) - DIGEST
        if end < start:
            raise BundleError('truncated', f'{len(data)} bytes')
        digest = hashlib.sha256(memoryview(data)[:end]).digest()
        if digest != data[end:]:
            raise BundleError('wrong_digest', f'SHA-256 of the content is {digest.hex()[:16]}..., '
                                              f'the file says {data[end:].hex()[:16]}...')
        size = int.from_bytes(data[len(MAGIC):start], 'little')
        if size > end - start:
            raise BundleError('truncated', f'a header of {size} bytes does not fit')
        header, table = _read_header(data[start:start + size])
        if verifier is not None:
            _check_signature(data, end, table, verifier)
        parts = _split(data, start + size, end, table)
        graphs = {name: parts[f'graph/{name}'] for name in GRAPHS if f'graph/{name}' in parts}
        missing = [name for name in GRAPHS if name not in graphs]
        if missing or 'canaries.npz' not in parts:
            raise BundleError('missing_part', ', '.join(missing) or 'canaries.npz')
        extras = {name[len('extra/'):]: part for name, part in parts.items()
                  if name.startswith('extra/')}
        try:
            manifest = Manifest.model_validate(header['manifest'])
            golden_outputs = read_arrays(parts['canaries.npz'])
        except ValidationError as error:
            raise BundleError('bad_manifest', _first(error)) from None
        except ArrayError as error:
            raise BundleError('bad_golden_outputs', str(error)) from None
        return cls(manifest, graphs, golden_outputs, extras)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f'{".".join(map(str, first["loc"]))}: {first["msg"]}'


def _read_header(data: bytes) -> tuple[dict[str, Any], list[Part]]:
    if len(data) > MAX_HEADER:
        raise BundleError('bad_header', f'{len(data)} bytes, at most {MAX_HEADER}')
    try:
        header: dict[str, Any] = json.loads(data)
        table = [Part.model_validate(part) for part in header['parts']]
        header['manifest']
    except ValidationError as error:
        raise BundleError('bad_header', f'parts: {_first(error)}') from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError('bad_header', repr(error)) from None
    return header, table


def _check_signature(data: bytes, end: int, table: list[Part], verifier: 'Verifier') -> None:
    if not table or table[-1] != Part(name=SIGNATURE, size=SIGNATURE_BYTES):
        raise BundleError('unsigned', 'a public key is configured, and this bundle is not signed')
    body = memoryview(data)[:end - SIGNATURE_BYTES]
    if not verifier.accepts(body, data[end - SIGNATURE_BYTES:end]):
        raise BundleError('bad_signature', 'not signed by the configured key')


def _split(data: bytes, offset: int, end: int, table: list[Part]) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    for part in table:
        if offset + part.size > end:
            raise BundleError('truncated', f'part {part.name} of {part.size} bytes does not fit')
        if part.name in parts:
            raise BundleError('bad_header', f'part {part.name} appears twice')
        parts[part.name] = data[offset:offset + part.size]
        offset += part.size
    if offset != end:
        raise BundleError('bad_header', f'{end - offset} bytes belong to no part')
    return parts


def save_bundle(bundle: Bundle, path: Path, signer: 'Signer | None' = None) -> None:
    """Write a bundle atomically, signed where there is a signer; mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, bundle.to_bytes(signer), 0o600)


def bundle_bytes(path: Path) -> bytes:
    """
    Return a bundle file's bytes, unchecked; at most MAX_BYTES + 1.

    :raises BundleError: the file cannot be read
    """
    if path.exists() and not path.is_file():  # a pipe would block
        raise BundleError('unreadable', f'{path}: not a file')
    try:
        with open(path, 'rb') as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BundleError('unreadable', f'{path}: {error.strerror}') from None


def load_bundle(path: Path, verifier: 'Verifier | None' = None) -> Bundle:
    """
    Read a bundle file.

    :raises BundleError: it cannot be read or is invalid; the message names the file
    """
    data = bundle_bytes(path)
    try:
        return Bundle.from_bytes(data, verifier)
    except BundleError as error:
        raise BundleError(error.reason, f'{path}: {error.detail}') from None
