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

"""Explanation of a policy's decision in a recorded state: candidates, their values, the gate."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import StepSchema
from spaars_ros.policy.runtime import PolicyRuntime

CANDIDATES = (('pretrained', 'anchor_action', 'q_anchor'), ('latent', 'latent_action', 'q_latent'),
              ('raw', 'raw_action', 'q_raw'))
"""(name, action output, value output) of the policy graph; the first only with a floor."""


@dataclass(frozen=True)
class Candidate:
    """Candidate action of a policy in one state."""

    name: str
    action: Array
    """(a,), normalised action units."""
    value: float
    """Mean over critic heads of (Q_r - lambda . Q_c) / (1 + sum lambda)."""
    spread: float
    """Standard deviation over critic heads."""


@dataclass(frozen=True)
class Why:
    """Decision of a policy in one state, and its candidates."""

    candidates: tuple[Candidate, ...]
    gate: float
    """Lower bound of the advantage of the raw action."""
    margin: float
    mode: Mode
    action: Array
    """(a,), normalised action units, without exploration."""


def lagrangian(values: NDArray[np.float32], multipliers: Array) -> Array:
    """Return the Lagrangian values (heads,) of Q values (heads, 1 + C) and multipliers (C,)."""
    return np.asarray((values[:, 0] - values[:, 1:] @ multipliers) / (1.0 + multipliers.sum()))


def why(runtime: PolicyRuntime, observation: Array) -> Why:
    """
    Return the decision of a policy for an observation (n,) in physical units.

    A policy with skills is evaluated as if a new skill began in this state, because records do
    not contain the skill.
    """
    manifest = runtime.manifest
    multipliers = np.asarray(manifest.multipliers, dtype=np.float64)
    skills: list[NDArray[np.float32]] = []
    if manifest.skill_length > 1:
        skills = [np.zeros((1, manifest.latent_dim), np.float32), np.ones((1, 1), np.float32)]
    out: Mapping[str, NDArray[np.float32]] = runtime.run(
        runtime.normalise(observation)[None],
        np.zeros((1, manifest.latent_dim), np.float32), *skills)
    found = []
    for name, action, value in CANDIDATES:
        if action in out and value in out:
            values = lagrangian(out[value][0], multipliers)
            found.append(Candidate(name, out[action][0].astype(np.float64),
                                   float(values.mean()), float(values.std())))
    decision = runtime.decide(observation)
    return Why(tuple(found), decision.gate, decision.margin, decision.mode, decision.action)


def _vector(values: Array) -> str:
    return ' '.join(f'{value:+.2f}' for value in np.atleast_1d(values))


def told(name: str, answer: Why) -> str:
    """Return a decision and its candidates as Markdown."""
    lines = [f'**{name}** would act **{answer.mode.name.lower()}**: lower bound of the advantage '
             f'of raw {answer.gate:+.4f}, margin {answer.margin:.4f}', '',
             '| candidate | value | ± heads | action |', '|---|---|---|---|']
    lines += [f'| {each.name} | {each.value:.3f} | {each.spread:.3f} | {_vector(each.action)} |'
              for each in answer.candidates]
    return '\n'.join(lines)


def describe_recorded(schema: StepSchema, row: Array) -> str:
    """Return the recorded decision of a step as Markdown."""
    get = schema.get
    asked, done = np.atleast_1d(get(row, 'asked_action')), np.atleast_1d(get(row, 'action'))
    mode = int(get(row, 'mode'))
    who = Mode(mode).name.lower() if mode in list(Mode) else f'mode {mode}'
    changed = f'changed it by at most {np.abs(done - asked).max():.3f}' \
        if get(row, 'intervention') else 'left it as it was'
    return (f'**Recorded**: {who} acted, policy version {int(get(row, "bundle_version"))}, '
            f'gate {float(get(row, "gate")):+.4f}, margin {float(get(row, "margin")):.4f}; the '
            f'safety filter {changed}\n\n| | action |\n|---|---|\n| asked | {_vector(asked)} |\n'
            f'| executed | {_vector(done)} |')
