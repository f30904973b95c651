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
Ed25519 signatures (RFC 8032) of bundles: a robot runs only bundles signed by its operator's key.

Keys are PEM files as `openssl pkey` reads them. The signed message is CONTEXT and the SHA-256 of
all bytes of the bundle before the signature, so that no signature of other data is valid for one.
"""

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CONTEXT = b'spaars_ros bundle 1\n'
PRIVATE, PUBLIC = 'signing_key.pem', 'public_key.pem'
MAX_KEY = 10_000
"""bytes; a PEM file of an Ed25519 key has about a hundred."""


class KeyFileError(ValueError):
    """A key file cannot be used; the message names it and says why."""


def _message(body: bytes | memoryview) -> bytes:
    return CONTEXT + hashlib.sha256(body).digest()


def _read(path: Path) -> bytes:
    try:
        with open(path, 'rb') as file:
            return file.read(MAX_KEY)
    except OSError as error:
        raise KeyFileError(f'{path}: {error.strerror}') from None


class Signer:
    """
    Signer with a private key.

    :param path: PEM file, PKCS 8, not encrypted, readable by its owner only
    :raises KeyFileError: the file is missing, readable by others, or another kind of key
    """

    def __init__(self, path: Path) -> None:
        data = _read(path)
        mode = os.stat(path).st_mode & 0o777
        if mode & 0o077:
            raise KeyFileError(f'{path}: others can use this private key (mode {mode:04o}); '
                               f'chmod 600 {path}')
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f'{path}: not a private key: {error}') from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f'{path}: {type(key).__name__}, expected an Ed25519 key')
        self._key = key

    def sign(self, body: bytes | memoryview) -> bytes:
        """Return the signature (64 bytes) of a bundle's bytes before it."""
        return self._key.sign(_message(body))


class Verifier:
    """
    Verifier with a public key.

    :param path: PEM file, SubjectPublicKeyInfo
    :raises KeyFileError: the file is missing, or another kind of key
    """

    def __init__(self, path: Path) -> None:
        try:
            key = serialization.load_pem_public_key(_read(path))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f'{path}: not a public key: {error}') from None
        if not isinstance(key, Ed25519PublicKey):
            raise KeyFileError(f'{path}: {type(key).__name__}, expected an Ed25519 key')
        self._key = key

    def accepts(self, body: bytes | memoryview, signature: bytes) -> bool:
        """Return whether the signature of a bundle's bytes before it is by this key."""
        try:
            self._key.verify(signature, _message(body))
        except InvalidSignature:
            return False
        return True


def generate(directory: Path) -> tuple[Path, Path]:
    """
    Write a new pair of keys; return the private (mode 0600) and the public file.

    :raises KeyFileError: a key exists already, or the directory cannot be written
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM,
                                           serialization.PublicFormat.SubjectPublicKeyInfo)
    paths = directory / PRIVATE, directory / PUBLIC
    for path in paths:
        # With another key, no bundle signed before could be verified.
        if path.exists():
            raise KeyFileError(f'{path}: exists; keys are not overwritten')
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, content, mode in zip(paths, (private, public), (0o600, 0o644)):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, 'wb') as file:
                file.write(content)
    except OSError as error:
        raise KeyFileError(f'{error.filename}: {error.strerror}') from None
    return paths
