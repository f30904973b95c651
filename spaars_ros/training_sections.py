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

"""Sections of a training file: settings of one family of algorithms."""

from collections.abc import Collection
from typing import Any

from spaars_ros.robot.files import nearest
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import Document

SECTIONS: dict[str, tuple[str, ...]] = {
    'spaars': (
        'min_latent_steps', 'max_latent_steps', 'plateau_window', 'plateau_tolerance',
        'plateau_windows', 'plateau', 'bc_bound', 'concurrent_bc', 'prior',
        'independent_targets', 'bootstrap', 'floor', 'latent_candidates', 'self_imitation',
        'latent_spread', 'hold_start', 'hold_steps', 'gate_watch', 'gate_tolerance', 'kappa',
        'explore_kappa', 'trials', 'min_margin', 'trust_start', 'trust_end', 'trust_steps',
        'trust_backoff', 'explore_raw_end', 'anchor', 'raw_bc', 'raw_candidate'),
    'supe': (
        'skill_length', 'skill_dim', 'skill_width', 'skill_layers', 'skill_kl', 'skill_steps',
        'skill_iql_steps', 'skill_expectile', 'skill_awr', 'skill_heads', 'skill_subset',
        'skill_discount', 'skill_relabel', 'rnd_weight', 'skill_temperature',
        'skill_actor_delay', 'skill_sample'),
    'spar': (
        'spar_projection', 'spar_base_steps', 'spar_candidates', 'spar_sigma', 'spar_centre',
        'spar_scale', 'spar_temperature', 'spar_fit', 'spar_conservative'),
    'constrained': (
        'start', 'cost_limit', 'episode_steps', 'clone_weight', 'cost_weight', 'entropy',
        'actor_rate', 'offline_share', 'demonstration_weight', 'align_share', 'align_push',
        'align_entropy_reward', 'align_entropy_cost', 'setpoint', 'violation_rate',
        'multiplier')}
"""Section -> its settings; all other settings are at the top level. `spaars` is for the gate and
its phases, also those of spaars-supe; `supe` for both algorithms with skills; `constrained` for
cpq, marvel, sac-lagrangian and sac-pid. The names are those of the folders in
learning/algorithms."""


def section_of(name: str) -> str:
    """Return the section of a setting, '' for the top level."""
    return next((section for section, names in SECTIONS.items() if name in names), '')


def flat(document: Document, known: Collection[str]) -> Document:
    """
    Move the settings of all sections to the top level; files without sections stay unchanged.

    :param known: names of all settings
    :raises ConfigError: a section without settings, a setting in a wrong section, or set twice
    """
    content: dict[str, Any] = {}
    lines, numbers = dict(document.lines), dict(document.numbers)
    for section, values in document.content.items():
        if section not in SECTIONS:
            content[section] = values
            continue
        where = document.where((section,))
        if not isinstance(values, dict):
            raise ConfigError(f'{where}: section {section!r}: expected settings (name: value), '
                              'indented under it')
        for name, value in values.items():
            place = (section, name)
            if name not in SECTIONS[section]:
                raise ConfigError(f'{document.where(place)}: {name!r} in section {section!r}: '
                                  + _belongs(name, section, known))
            if name in document.content:
                raise ConfigError(f'{document.where(place)}: {name!r} is there twice, in section '
                                  f'{section!r} and outside: leave one out')
            content[name] = value
            lines[(name,)] = lines.get(place, 0)
            if place in numbers:
                numbers[(name,)] = numbers[place]
    return Document(document.name, content, lines, numbers)


def _belongs(name: str, section: str, known: Collection[str]) -> str:
    own = section_of(name)
    if own:
        return f'it belongs in section {own!r}'
    if name in known:
        return 'it stands in the file itself, in no section'
    return f'no such setting{nearest(name, SECTIONS[section])}'


def sectioned(settings: dict[str, Any]) -> dict[str, Any]:
    """Return flat settings with those of each family of algorithms moved to its section."""
    made = {name: value for name, value in settings.items() if not section_of(name)}
    for section, names in SECTIONS.items():
        own = {name: value for name, value in settings.items() if name in names}
        if own:
            made[section] = own
    return made
