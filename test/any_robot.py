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

"""Hypothesis strategies for arbitrary valid robot files with their models."""

import math
from typing import Any

from hypothesis import strategies as st

NUMBER = '{:.6f}'.format


def log_floats(low: float, high: float) -> st.SearchStrategy[float]:
    """Return log-uniform numbers from low to high; both ends are frequent."""
    return st.one_of(st.floats(math.log(low), math.log(high)).map(math.exp).map(
        lambda value: min(max(value, low), high)), st.sampled_from([low, high]))


def parameters() -> st.SearchStrategy[dict[str, float]]:
    """Return arguments of the filter in the ranges of the policy server's parameters."""
    return st.fixed_dictionaries({'gross': log_floats(1.0, 100.0),
                                  'repeated': log_floats(0.01, 3600.0)})


@st.composite
def arms(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Return an MJCF model, and the content of its robot file without the key `model`."""
    n = draw(st.integers(1, 7))
    slides = [draw(st.integers(0, 4)) == 0 for _ in range(n)]
    position, home, bodies = [], [], ''
    for index, slide in enumerate(slides):
        half = draw(log_floats(0.02, 1.0 if slide else 6.0))
        middle = draw(st.floats(-0.3, 0.3))
        position.append([middle - half, middle + half])
        home.append(middle + half * draw(st.floats(-0.9, 0.9)))
        axis = draw(st.sampled_from(['1 0 0', '0 1 0', '0 0 1', '1 1 0', '0 -1 2']))
        where = [draw(st.floats(-0.2, 0.2)), draw(st.floats(-0.2, 0.2)),
                 draw(st.floats(0.02, 0.4))]
        place = ' '.join(map(NUMBER, where))
        ranged = '' if draw(st.booleans()) else (
            f'limited="true" range="{position[-1][0] - 0.1} {position[-1][1] + 0.1}"')
        bodies += (f'<body name="link{index}" pos="{place}"><joint name="joint{index}" '
                   f'type="{"slide" if slide else "hinge"}" axis="{axis}" {ranged}/>'
                   f'<geom type="{draw(st.sampled_from(["sphere", "box", "capsule"]))}" '
                   f'size="0.02 0.03 0.02" mass="0.5"/>')
    model = (f'<mujoco><compiler angle="radian"/><worldbody>{bodies}'
             f'<site name="tip" pos="0.05 0 0.1"/>{"</body>" * n}</worldbody></mujoco>')
    rate = draw(log_floats(1.0, 1000.0))
    velocity = [draw(log_floats(0.001, 100.0)) for _ in range(n)]
    content: dict[str, Any] = {
        'name': 'any', 'joints': [f'joint{index}' for index in range(n)], 'tip': 'tip',
        'tip_offset': [0.0, draw(st.floats(-0.1, 0.1)), 0.0], 'home': home,
        'limits': {
            'position': position, 'velocity': velocity,
            'torque': [50.0] * n, 'margin': draw(st.sampled_from([0.0, 0.001, 0.005]))},
        'control': {'rate': rate, 'delay': draw(st.one_of(st.integers(0, 3),
                                                          st.integers(0, 20))),
                    'timeout': draw(st.one_of(st.just(0.0), st.floats(0.0, 0.5))),
                    'action_scale': draw(st.floats(0.05, 1.0))},
        'keep_out': [_zone(draw, index) for index in range(draw(st.integers(0, 3)))],
        'self_collision': draw(st.booleans()),
        'clearance': draw(st.sampled_from([0.002, 0.005, 0.02]))}
    # If missing, they are derived from the velocities.
    if draw(st.integers(0, 3)):
        content['limits']['acceleration'] = [draw(log_floats(0.001, 1e4)) for _ in range(n)]
    if draw(st.integers(0, 3)):
        content['limits']['jerk'] = [draw(log_floats(0.1, 1e7)) for _ in range(n)]
    if draw(st.booleans()):
        content['workspace'] = {'low': [draw(st.floats(-2.5, -0.3)) for _ in range(3)],
                                'high': [draw(st.floats(0.3, 2.5)) for _ in range(3)]}
    if draw(st.booleans()):
        content['tip_speed'] = draw(log_floats(0.001, 100.0))
    return model, content


def _zone(draw: st.DrawFn, index: int) -> dict[str, Any]:
    shape = draw(st.sampled_from(['sphere', 'cylinder', 'box']))
    size = draw(log_floats(0.02, 0.5))
    return {'shape': shape, 'name': f'zone{index}',
            'protects': draw(st.sampled_from(['tip', 'tip', 'arm'])),
            'centre': [draw(st.floats(-1.0, 1.0)) for _ in range(3)],
            **{'sphere': {'radius': size}, 'cylinder': {'radius': size, 'height': 2.0 * size},
               'box': {'size': [size, 2.0 * size, size]}}[shape]}
