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

"""Environments of the libraries for comparison: one per library, with pinned versions."""

from collections.abc import Callable
from pathlib import Path
import subprocess
import sys

FOLDER = Path('~/.cache/spaars_ros/peers')
"""Default folder of the environments."""
SCRIPTS = Path(__file__).resolve().parent / 'peers'

TORCH = ['torch==2.13.0', '--extra-index-url', 'https://download.pytorch.org/whl/cpu']
# Requirements of the arm task as a Gymnasium environment (spaars_ros.sim.env, this checkout).
ARM = ['daqp==0.11.0', 'pydantic==2.14.3', 'PyYAML==6.0.3']
PINS: dict[str, list[list[str]]] = {
    # Each list is one call of pip; torch first, otherwise pip installs gigabytes of CUDA.
    'sb3': [TORCH, ['stable-baselines3==2.9.2', 'gymnasium[mujoco]==1.4.0', 'mujoco==3.11.0',
                    'onnx==1.23.2', *ARM]],
    'd3rlpy': [TORCH, ['d3rlpy==2.8.1', 'gymnasium[mujoco]==1.0.0', 'mujoco==3.11.0',
                       *ARM]],
    # JAX: the fastest SAC of the peers.
    'sbx': [TORCH, ['sbx-rl==0.28.0', 'jax==0.10.2', 'gymnasium[mujoco]==1.4.0',
                    'mujoco==3.11.0', *ARM]],
    # Safe-RL tasks of `spaars bench constraints`.
    'bullet': [['bullet-safety-gym==1.4.0', 'pybullet==3.2.7', 'gymnasium==0.28.1']],
}
"""Name of a peer -> arguments of the calls of pip. d3rlpy 2.8.1 needs gymnasium 1.0.0."""
FOLDERS = {'metaworld': ['--no-deps', 'metaworld==3.1.1']}
"""Name -> arguments of pip, for packages of tasks that run in the present environment."""


class PeerError(RuntimeError):
    """Raised if the environment of a peer is missing or cannot be made, or its script failed."""


def python_of(peer: str, folder: Path) -> Path | None:
    """Return the interpreter of the environment of a peer; None if it is missing."""
    python = folder.expanduser() / peer / 'bin' / 'python'
    # .made is written last: it marks a complete installation.
    return python if python.exists() and (python.parent.parent / '.made').exists() else None


def how_to_make(peer: str, folder: Path) -> str:
    """Return the text that tells how to make a missing environment."""
    return (f'{peer}: no environment in {folder.expanduser() / peer}; '
            f'make it with: spaars bench peers --peers {folder} (about 1 GB each)')


def make(folder: Path = FOLDER, say: Callable[[str], None] | None = None,
         only: str = '') -> dict[str, str]:
    """
    Make missing environments; return name -> interpreter, or folder of a package.

    :param only: name of the environment to make; '' for all
    :raises PeerError: unknown name, or pip failed; the message has its last lines
    """
    made = {}
    if only and only not in {**PINS, **FOLDERS}:
        raise PeerError(f'--only {only}: one of {", ".join({**PINS, **FOLDERS})}')
    for name, arguments in FOLDERS.items():
        if only in ('', name):
            place = folder.expanduser() / name
            if not any(place.glob('*.dist-info')):
                _run([sys.executable, '-m', 'pip', 'install', '--no-input', '--progress-bar',
                      'off', '--disable-pip-version-check', '--target', str(place), *arguments])
            made[name] = str(place)
    for peer, calls in PINS.items():
        if only not in ('', peer):
            continue
        place = folder.expanduser() / peer
        if python_of(peer, folder) is None:
            if say is not None:
                say(f'{peer}: making {place}')
            _run([sys.executable, '-m', 'venv', '--clear', str(place)])
            python = str(place / 'bin' / 'python')
            for arguments in calls:
                _run([python, '-m', 'pip', 'install', '--no-input', '--progress-bar', 'off',
                      '--disable-pip-version-check', *arguments])
            (place / '.made').touch()
        made[peer] = str(place / 'bin' / 'python')
    return made


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise PeerError(f'{" ".join(command[:6])} failed: {" ".join(words)}')
