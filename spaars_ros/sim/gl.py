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

"""OpenGL without a screen: choice of a MuJoCo backend that works here."""

from functools import cache
from importlib import import_module
import os
import subprocess
import sys
from typing import Any

from spaars_ros.robot.config import ConfigError

BACKENDS = ('egl', 'osmesa')
PROBE = 'import mujoco; c = mujoco.GLContext(8, 8); c.make_current(); c.free()'
PATIENCE = 60.0
"""s for a backend to start."""


def choose_backend() -> str:
    """
    Set MUJOCO_GL to a backend that works here, unless it is set, and return it.

    Each backend is tried in a separate process, because one that fails to start leaves its process
    unusable for others.

    :raises ConfigError: no backend works
    """
    name = os.environ.get('MUJOCO_GL', '').lower() or _found()
    if not name:
        raise ConfigError('drawing off screen needs EGL or OSMesa, and neither starts here: sudo '
                          'apt install libosmesa6 (or set MUJOCO_GL)')
    os.environ['MUJOCO_GL'] = name
    return name


@cache
def _found() -> str:
    for name in BACKENDS:
        try:
            tried = subprocess.run([sys.executable, '-c', PROBE], capture_output=True, check=False,
                                   env={**os.environ, 'MUJOCO_GL': name}, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            continue
        if tried.returncode == 0:
            return name
    return ''


def gl_context(width: int, height: int) -> Any:
    """Return an OpenGL context for images up to this size, pixels; raise ConfigError."""
    name = choose_backend()
    try:
        # MuJoCo itself chooses by MUJOCO_GL at its import, which may be long ago.
        module = import_module(f'mujoco.{name}' if name in BACKENDS else 'mujoco')
        return module.GLContext(width, height)
    except Exception as error:  # PyOpenGL's and ctypes' errors have no common class
        raise ConfigError(f'MUJOCO_GL={name} draws nothing here ({type(error).__name__}): unset '
                          'it, or sudo apt install libosmesa6') from None
