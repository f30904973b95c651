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

"""Meaning of actions and ticks: stored with policies, demonstrations and runs, and compared."""

from collections.abc import Sequence
from typing import Any
from typing import Optional

from pydantic import BaseModel
from pydantic import ConfigDict

from spaars_ros.robot.config import Robot

SHOWN = 4
"""Greatest number of differences that a message lists."""
SAME = 1e-9


class Contract(BaseModel):
    """Meaning of an action and a tick; data of another contract move the arm differently."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)

    joints: list[str]
    rate: float
    action_scale: float
    velocity: list[float]
    position: list[tuple[float, float]]
    acceleration: list[float]
    jerk: list[float]
    tip: str
    tip_offset: tuple[float, float, float]
    workspace: Optional[dict[str, list[float]]]
    keep_out: dict[str, dict[str, str | float | list[float]]]
    """Name of the zone -> its fields."""
    observation_names: list[str]


OF_ACTIONS = ('joints', 'rate', 'action_scale', 'velocity', 'tip', 'tip_offset')
"""Fields that decide what a recorded action did; demonstrations may differ in all other fields."""

OF_POLICIES = (*OF_ACTIONS, 'position', 'acceleration', 'jerk')


def contract_of(robot: Robot, observation_names: Sequence[str]) -> Contract:
    """Return the contract of this robot with a task's observation names."""
    limits = robot.limits
    return Contract(
        joints=robot.joints, rate=robot.control.rate, action_scale=robot.control.action_scale,
        velocity=limits.velocity, position=limits.position, acceleration=limits.acceleration,
        jerk=limits.jerk, tip=robot.tip, tip_offset=robot.tip_offset,
        workspace=None if robot.workspace is None
        else {name: list(value) for name, value in robot.workspace},
        keep_out={zone.name: zone.model_dump(mode='json', exclude={'name'})
                  for zone in robot.keep_out},
        observation_names=list(observation_names))


def action_differences(made: Contract, here: Contract) -> str:
    """Return the fields in which the meaning of actions differs, with both values; '' for none."""
    return _text(_differences(_plain(made, OF_ACTIONS), _plain(here, OF_ACTIONS)))


def policy_differences(made: Contract, here: Contract) -> str:
    """
    Return how the contract of a policy differs from this one, with both values; '' for none.

    A zone that was added since then is not a difference, as it only restricts the policy. A zone
    or a workspace that was removed or changed is one.
    """
    fields = (*OF_POLICIES, *(('observation_names',) if here.observation_names else ()))
    found = _differences(_plain(made, fields), _plain(here, fields))
    for name, zone in made.keep_out.items():
        found += _differences({f'keep_out.{name}': zone},
                              {f'keep_out.{name}': here.keep_out.get(name)})
    if made.workspace is not None:
        found += _differences({'workspace': made.workspace}, {'workspace': here.workspace})
    return _text(found)


def differences(kept: dict[str, Any], here: dict[str, Any]) -> str:
    """Return the fields in which two dicts differ, with both values; '' for none."""
    return _text(_differences(kept, here))


def _plain(contract: Contract, fields: Sequence[str]) -> dict[str, Any]:
    return contract.model_dump(mode='json', include=set(fields))


def _differences(made: Any, here: Any, field: str = '') -> list[str]:
    if isinstance(made, dict) and isinstance(here, dict):
        return [text for name in {**made, **here} for text in _differences(
            made.get(name), here.get(name), f'{field}.{name}'.strip('.'))]
    if isinstance(made, (list, tuple)) and isinstance(here, (list, tuple)) \
            and len(made) == len(here):
        return [text for i, (one, other) in enumerate(zip(made, here))
                for text in _differences(one, other, f'{field}.{i}')]
    if isinstance(made, (int, float)) and isinstance(here, (int, float)) \
            and abs(made - here) <= SAME * max(1.0, abs(made)):
        return []
    return [] if made == here else [f'{field} was {_shown(made)}, here it is {_shown(here)}']


def _shown(value: Any) -> str:
    text = 'not there' if value is None else repr(value)
    return text if len(text) <= 100 else text[:97] + '...'


def _text(found: list[str]) -> str:
    more = f'; and {len(found) - SHOWN} more' if len(found) > SHOWN else ''
    return '; '.join(found[:SHOWN]) + more
