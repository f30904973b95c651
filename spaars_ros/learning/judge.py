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

"""Train a success classifier on observations of labelled episodes, and export it as ONNX."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper
from onnx import NodeProto
from onnx import numpy_helper
from onnx import TensorProto
import torch
from torch import nn

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.policy.judge import MADE_FOR
from spaars_ros.policy.judge import MadeFor
from spaars_ros.tasks.base import GivenSuccess

WIDTH = 64
STEPS = 2000
BATCH = 256
RATE = 1e-3
DECAY = 1e-4
DONE = 3
"""Number of states at the end of a successful episode that are labelled as done."""
BETWEEN = 5
"""Number of states before those whose label is ambiguous; they are not used for training."""
HELD_OUT = 0.25
"""Share of the episodes of each outcome that is kept for evaluation, 0 to 1."""
FEWEST = 4
"""Minimum number of successful episodes, and of failed ones, for training."""
CLIP = 8.0
"""Standard deviations; standardised observations are clipped to +-CLIP."""
OPSET = 17


@dataclass(frozen=True)
class Labelled:
    """One episode that is labelled as a success or a failure."""

    observations: Array
    """(T, n) physical units."""
    success: bool
    variants: tuple[Array, ...] = ()
    """Further observations (T, n) of the same states, to learn from."""


@dataclass(frozen=True)
class Verdict:
    """Results of a classifier on held-out episodes, by the success rule of the task file."""

    successes: int
    found: int
    """Successful episodes in which success is detected within the last `DONE + BETWEEN` states."""
    early: int
    """Successful episodes in which success is detected earlier than that."""
    failures: int
    alarms: int
    """Failed episodes in which success is detected (false positives)."""


def episodes_of(schema: StepSchema, rows: Array, seen: Sequence[Array] = ()
                ) -> tuple[list[Labelled], int]:
    """
    Return the labelled episodes of step records, and the number of episodes that are left out.

    An episode is left out if it is unlabelled, discarded, or no longer than `DONE` states.

    :param seen: (m, n) what the classifier sees of each record, and variants of it to learn from;
        (): the observations
    """
    views = seen or [np.asarray(rows[:, schema.fields['observation']], dtype=np.float64)]
    found, parts = [], _parts(schema, rows)
    for part, outcome in parts:
        if outcome is not None:
            first, *others = (view[part] for view in views)
            found.append(Labelled(first, outcome is Outcome.SUCCESS, tuple(others)))
    return found, len(parts) - len(found)


def labelled_steps(schema: StepSchema, rows: Array) -> Array:
    """Return the records of the episodes that `episodes_of` returns."""
    chosen = [part for part, outcome in _parts(schema, rows) if outcome is not None]
    return rows[np.concatenate(chosen)] if chosen else rows[:0]


def _parts(schema: StepSchema, rows: Array) -> list[tuple[NDArray[np.intp], Outcome | None]]:
    """Return the places of each episode's records, and its outcome if it is one to learn from."""
    number = schema.get(rows, 'episode')
    found: list[tuple[NDArray[np.intp], Outcome | None]] = []
    for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(number)) + 1):
        outcome = Outcome(int(schema.get(rows[part[-1]], 'outcome')))
        usable = outcome in (Outcome.SUCCESS, Outcome.FAILURE) and len(part) > DONE
        found.append((part, outcome if usable else None))
    return found


def ticks_of(episodes: Sequence[Labelled]) -> tuple[Array, NDArray[np.bool_]]:
    """Return observations (N, n), physical units, and whether the task is done in each (N,)."""
    seen, done = [], []
    for episode in episodes:
        for states in (episode.observations, *episode.variants):
            if episode.success:
                before = states[:max(len(states) - DONE - BETWEEN, 0)]
                seen += [before, states[-DONE:]]
                done += [np.zeros(len(before), bool), np.ones(DONE, bool)]
            else:
                seen.append(states)
                done.append(np.zeros(len(states), bool))
    return np.concatenate(seen), np.concatenate(done)


class Classifier(nn.Module):
    """MLP from observations (B, n) in physical units to a logit (B,); it standardises them."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, observations: Array) -> None:
        super().__init__()
        mean, std = observations.mean(0), observations.std(0)
        varies = std > 1e-6 * np.maximum(1.0, np.abs(mean))
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32))
        self.register_buffer('std', torch.tensor(np.where(varies, std, 1.0),
                                                 dtype=torch.float32))
        self.net = nn.Sequential(nn.Linear(len(mean), WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH),
                                 nn.ReLU(), nn.Linear(WIDTH, 1))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the logits (B,) of observations (B, n) in physical units."""
        scaled = ((observation - self.mean) / self.std).clamp(-CLIP, CLIP)
        logits: torch.Tensor = self.net(scaled)[:, 0]
        return logits


def check_enough(episodes: Sequence[Labelled], left: int = 0
                 ) -> tuple[list[Labelled], list[Labelled]]:
    """
    Return the successful and the failed episodes.

    :param left: number of episodes without a label, for the message
    :raises ValueError: fewer than `FEWEST` successful or failed episodes
    """
    wins = [each for each in episodes if each.success]
    losses = [each for each in episodes if not each.success]
    for kind, some in (('succeeded', wins), ('failed', losses)):
        if len(some) < FEWEST:
            raise ValueError(
                f'{len(some)} labelled episodes that {kind}, at least {FEWEST} are needed: label '
                'more (spaars label, the page, a button)'
                + (f'; {left} have no label, as those that ran out of time' if left else ''))
    return wins, losses


def train_judge(episodes: Sequence[Labelled], seed: int = 0) -> tuple[Classifier, list[Labelled]]:
    """
    Train a classifier; return it and the held-out episodes.

    Each batch holds as many states with the task done as not done, to balance the classes.

    :raises ValueError: fewer than `FEWEST` successful or failed episodes
    """
    wins, losses = check_enough(episodes)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    kept: list[Labelled] = []
    used: list[Labelled] = []
    for some in (wins, losses):
        order = rng.permutation(len(some))
        count = max(int(HELD_OUT * len(some)), 1)
        kept += [some[index] for index in order[:count]]
        used += [some[index] for index in order[count:]]
    observations, done = ticks_of(used)
    model = Classifier(observations)
    inputs = torch.tensor(observations, dtype=torch.float32)
    targets = torch.tensor(done, dtype=torch.float32)
    places = [np.flatnonzero(done), np.flatnonzero(~done)]
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        drawn = np.concatenate([each[rng.integers(0, len(each), BATCH // 2)] for each in places])
        loss = nn.functional.binary_cross_entropy_with_logits(model(inputs[drawn]),
                                                              targets[drawn])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model, kept


def to_onnx(model: Classifier, made_for: MadeFor | None = None) -> bytes:
    """
    Export a classifier as ONNX: observation (batch, n) -> success probability (batch, 1).

    :param made_for: what the observations mean, kept in the file; None: unknown
    """
    nodes, weights, success = head_of(model, 'observation')
    graph = helper.make_graph(
        nodes, 'judge',
        [helper.make_tensor_value_info('observation', TensorProto.FLOAT,
                                       ['batch', len(model.mean)])],
        [helper.make_tensor_value_info(success, TensorProto.FLOAT, ['batch', 1])], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)])
    made.ir_version = 9
    if made_for is not None:
        helper.set_model_props(made, {MADE_FOR: made_for.to_json()})
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def head_of(model: Classifier, given: str, prefix: str = ''
            ) -> tuple[list[NodeProto], list[TensorProto], str]:
    """
    Return the ONNX nodes of a classifier, their weights, and the name of the output (batch, 1).

    :param given: name of the input (batch, n)
    :param prefix: of all other names
    """
    weights: dict[str, NDArray[np.float32]] = {
        'mean': model.mean.numpy(), 'std': model.std.numpy(),
        'low': np.float32(-CLIP).reshape(()), 'high': np.float32(CLIP).reshape(())}
    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ('Sub', [given, 'mean'], 'centred', {}), ('Div', ['centred', 'std'], 'scaled', {}),
        ('Clip', ['scaled', 'low', 'high'], 'x0', {})]
    layers = [layer for layer in model.net.modules() if isinstance(layer, nn.Linear)]
    for number, layer in enumerate(layers):
        weights[f'w{number}'] = layer.weight.detach().numpy()
        weights[f'b{number}'] = layer.bias.detach().numpy()
        nodes.append(('Gemm', [f'x{number}', f'w{number}', f'b{number}'], f'y{number}',
                      {'transB': 1}))
        last = number == len(layers) - 1
        nodes.append(('Sigmoid' if last else 'Relu', [f'y{number}'],
                      'success' if last else f'x{number + 1}', {}))
    return ([helper.make_node(kind, [name if name == given else prefix + name for name in inputs],
                              [prefix + output], **more) for kind, inputs, output, more in nodes],
            [numpy_helper.from_array(np.ascontiguousarray(value), prefix + name)
             for name, value in weights.items()], prefix + 'success')


def first_said(values: Sequence[float], rule: GivenSuccess) -> int | None:
    """Return the index of the state at which this rule detects success; None if it never does."""
    done, held = False, 0
    for place, value in enumerate(values):
        done = value >= rule.above or done and value >= rule.below
        held = held + 1 if done else 0
        if held >= rule.hold:
            return place
    return None


def tried(model: Classifier, episodes: Sequence[Labelled], rule: GivenSuccess) -> Verdict:
    """Evaluate a classifier on episodes, by the rule that a run would use."""
    successes = found = early = failures = alarms = 0
    for episode in episodes:
        with torch.no_grad():
            values = torch.sigmoid(model(torch.tensor(episode.observations,
                                                      dtype=torch.float32)))
        said = first_said(values.tolist(), rule)
        if episode.success:
            successes += 1
            too_soon = said is not None and said < len(values) - DONE - BETWEEN
            early += too_soon
            found += said is not None and not too_soon
        else:
            failures += 1
            alarms += said is not None
    return Verdict(successes, found, early, failures, alarms)
