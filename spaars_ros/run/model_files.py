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


"""Files of a robot's model: the model itself, what it includes, and its meshes."""

import hashlib
from pathlib import Path
import re

NAMED = re.compile(rb'\bfile(?:name)?\s*=\s*["\']([^"\']{1,500})["\']')
FOLDERS = re.compile(rb'\b(?:mesh|asset)dir\s*=\s*["\']([^"\']{1,500})["\']')
MODELS = ('.xml', '.mjcf', '.urdf')
PICTURES = ('.png', '.jpg', '.jpeg', '.ktx')
"""Textures: they change neither motions nor distances."""
MOST = 1000
"""Greatest number of files that are looked for."""


def files_of(model: Path) -> list[Path]:
    """
    Return a model file, and the existing files that it names, directly or in included ones.

    :raises OSError: a file cannot be read
    """
    found, waiting, folders = [model], [model], [model.parent]
    while waiting:
        text = waiting.pop(0).read_bytes()
        folders += [model.parent / _text(name) for name in FOLDERS.findall(text)]
        names = [_text(name) for name in NAMED.findall(text)]
        for name in dict.fromkeys([*names, *(Path(name).name for name in names)]):
            for file in [folder / name for folder in folders]:
                if len(found) < MOST and file not in found and _is_part(file):
                    found.append(file)
                    waiting += [file] if file.suffix.lower() in MODELS else []
    return found


def digest_of_model(model: Path) -> str:
    """Return the SHA-256 of the files of a model, '' when one cannot be read."""
    digest = hashlib.sha256()
    try:
        for file in files_of(model):
            digest.update(file.read_bytes())
    except OSError:
        return ''
    return digest.hexdigest()


def is_same_model(model: Path, digest: str) -> bool:
    """Return whether a digest is that of a model, or of its first file, as 0.1.0 computed it."""
    if digest == digest_of_model(model):
        return True
    try:
        return digest == hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError:
        return not digest


def _text(name: bytes) -> str:
    return name.decode('utf-8', 'replace')


def _is_part(file: Path) -> bool:
    try:
        return file.is_file() and file.suffix.lower() not in PICTURES
    except (OSError, ValueError):
        return False
