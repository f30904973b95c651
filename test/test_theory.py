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
"""The method's statements, as far as they hold for any networks (docs/concepts/theory.md)."""

import json

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import theory_of as theory
from benchmarks.theory import gaussian_ratios
from spaars_ros.cli import app
from spaars_ros.learning.algorithms.spaars.spaars_networks import SpaarsAgent
from spaars_ros.training_file import load_training


@pytest.fixture
def agent():
    torch.manual_seed(0)
    agent = SpaarsAgent(load_training('spaars', width=32, heads=2, latent_dim=2), 5, 3, 1)
    with torch.no_grad():
        for weight in agent.critic.weights:
            weight.mul_(3.0)  # steeper, so that differences are no rounding
    return agent


def test_the_score_gradients_variance_is_k_over_d_of_the_raw_one():
    for row in gaussian_ratios(samples=100_000):
        assert row['ratio'] == pytest.approx(row['predicted'], rel=0.03)


def test_an_advantage_that_depends_on_the_action_only_lowers_the_variance():
    """tr Cov = E|g|^2 - |E g|^2, and the lemma bounds the first term."""
    torch.manual_seed(0)
    noise = torch.randn(100_000, 4)
    trace = theory.score_gradient_variance((noise[:, 0]).sign(), noise, 0.5)
    assert trace == pytest.approx((4 - 2 / torch.pi) / 0.25, rel=0.02)  # E|x| = sqrt(2 / pi)


def test_twice_the_latent_dimensions_are_worse_than_raw():
    """PLAS's default k = 2 d: the argument for a latent phase would not hold."""
    torch.manual_seed(0)
    agent = SpaarsAgent(load_training('spaars', width=32, heads=2, latent_dim=6), 5, 3, 1)
    row = theory.variance_ratio(agent, torch.randn(4, 5), std=0.3, samples=4000, bounded=True)
    assert row['ratio'] > 1.5


def test_networks_with_bounded_advantages_keep_the_ratio(agent):
    row = theory.variance_ratio(agent, torch.randn(8, 5), std=0.3, samples=4000, bounded=True)
    assert row['ratio'] == pytest.approx(row['predicted'], rel=0.15)


def test_the_gates_difference_is_within_slope_times_distance_in_every_state(agent):
    c = theory.calibration(agent, torch.randn(200, 5))
    assert float(c['difference'].max()) > 1e-3
    assert bool((c['difference'] <= 1.02 * c['local'] * c['distance'] + 1e-6).all())


def test_a_margin_of_slope_times_error_keeps_a_calibrated_gate_shut(agent):
    """The lemma's use: raw that imitates the decoder within eps cannot fire spuriously."""
    states = torch.randn(200, 5)
    optimiser = torch.optim.Adam(agent.raw_policy.parameters(), lr=3e-3)
    for _ in range(400):
        loss = (agent.raw_policy(states) - agent.latent_action(states).detach()).square().sum(-1)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    c = theory.calibration(agent, states)
    margin = float(c['local'].max()) * float(c['distance'].max())
    with torch.no_grad():
        decoded = agent.latent_action(states)
        bound = agent.advantage(states, agent.raw_policy(states), decoded)
    assert not bool((bound > margin).any())
    assert margin < 1.0  # else the statement above is empty


def test_a_perfect_decoder_has_no_gap(agent):
    """Where the encoder's latent is decoded to the very action, the bound is zero."""
    states = torch.randn(50, 5)
    with torch.no_grad():
        agent.decoder.net.layers[-1].weight.zero_()  # one action a state, whatever the latent
        agent.encoder.net.layers[-1].weight.zero_()
        actions = agent.decoder(states, torch.zeros(50, 2))
    gap = theory.reconstruction_gap(agent, states, actions, 0.9)
    assert gap['bound'] == pytest.approx(0.0, abs=1e-5)
    assert gap['difference'] == pytest.approx(0.0, abs=1e-5)


def test_the_gaps_bound_is_above_the_performance_difference(agent):
    """For a greedy latent policy; here the decoder has one action a state, so it is greedy."""
    states, actions = torch.randn(50, 5), torch.rand(50, 3) * 2 - 1
    with torch.no_grad():
        agent.decoder.net.layers[-1].weight.zero_()
    gap = theory.reconstruction_gap(agent, states, actions, 0.9)
    assert abs(gap['difference']) <= gap['bound']
    assert gap['bound'] <= gap['from_mse'] * 1.001


@pytest.mark.timeout(240)
def test_bench_theory_draws_its_figures(tmp_path):
    out = tmp_path / 'rows.json'
    result = CliRunner().invoke(app, [
        'bench', 'theory', '--seeds', '0', '--episodes', '4', '--training', 'smoke',
        '--plots', str(tmp_path), '--json', str(out)])
    assert result.exit_code == 0, result.output
    row, = json.loads(out.read_text())
    assert row['calibration']['share_within_local'] == 1.0
    assert {'measured', 'bound', 'difference'} <= set(row['gap'])
    for name in ('variance', 'calibration', 'gap'):
        assert (tmp_path / f'{name}.png').stat().st_size > 5000
