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
"""SPAR: residual CVAE, self-imitation, geometry of the residuals, drift; TD3+BC."""

import json

import gymnasium
import numpy as np
from pydantic import ValidationError
import pytest
from test_trainer import data_of
from test_trainer import Point
from test_trainer import SMALL
from test_trainer import trainer_of
import torch

from benchmarks.drift import run as run_drift
from benchmarks.drift_of import decoder_jacobian
from benchmarks.drift_of import measure_drift
from benchmarks.drift_of import normal_share
from spaars_ros.data.transitions import save_transitions
from spaars_ros.learning.algorithms.spar.geometry import count_modes
from spaars_ros.learning.algorithms.spar.geometry import residual_geometry
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.self_imitation import candidate_noise
from spaars_ros.learning.core.self_imitation import candidate_values
from spaars_ros.learning.core.self_imitation import candidate_weights
from spaars_ros.learning.core.self_imitation import draw_candidates
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.training_file import load_training

N, D, B = 3, 2, 32
TINY = {**SMALL, 'width': 16, 'batch': B, 'cvae_steps': 20, 'iql_steps': 30, 'align_steps': 20,
        'spar_base_steps': 20, 'spar_candidates': 6}


def make(seed=0, name='spar', constraints=0, **changes):
    torch.manual_seed(seed)
    training = load_training('locomotion', **{**TINY, 'algorithm': name, **changes})
    return make_algorithm(name, training, observation=N, action=D, constraints=constraints,
                          normaliser=Normaliser(np.zeros(N), np.ones(N)), seed=seed)


def batch_of(seed=0, size=B, constraints=0):
    draw = torch.Generator().manual_seed(seed)
    return Batch({'observation': torch.randn(size, N, generator=draw),
                  'action': torch.rand(size, D, generator=draw) * 2 - 1,
                  'reward': torch.rand(size, generator=draw),
                  'cost': torch.ones(size, constraints),
                  'next': torch.randn(size, N, generator=draw),
                  'discount': torch.full((size,), 0.5)})


def trained(steps=70, **changes):
    """Return SPAR after its offline phase on noise."""
    spar = make(**changes)
    for step in range(steps):
        spar.update_offline(batch_of(step), step)
    return spar


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))


# Start and end


@pytest.mark.parametrize('projection', ['mlp', 'proj'])
def test_spar_starts_exactly_as_its_base(projection):
    agent = make(spar_projection=projection).agent
    o = torch.randn(50, N)
    with torch.no_grad():
        assert agent.projection == projection
        assert torch.equal(agent.action(o), agent.base(o).clamp(-1.0, 1.0))


def test_spar_mlp_is_its_base_until_self_imitation_begins():
    spar = make(spar_projection='mlp')
    for step in range(40):
        spar.update_offline(batch_of(step), step)
    o = torch.randn(50, N)
    assert torch.equal(spar.agent.action(o), spar.agent.base(o))
    spar.update_offline(batch_of(40), 40)
    assert not torch.equal(spar.agent.action(o), spar.agent.base(o))


@pytest.mark.parametrize('projection', ['mlp', 'proj'])
def test_spar_is_better_than_its_base(tmp_path, projection):
    """The base clones a policy that goes half the way, with a return of about -3.3."""
    trainer = trainer_of(tmp_path, algorithm='spar', spar_projection=projection, steps=0,
                         spar_base_steps=60, cvae_steps=80, iql_steps=200, spar_temperature=0.5)
    spar = trainer.algorithm
    summary = trainer.run()
    best = np.random.default_rng(0).uniform(-0.8, 0.8, (500, 2))
    o = torch.from_numpy(spar.normaliser(best))
    with torch.no_grad():
        error, of_base = (float((2.0 * action - torch.from_numpy(best)).square().sum(-1).mean())
                          for action in (spar.agent.action(o), spar.agent.base(o)))
    assert error < 0.75 * of_base
    assert summary['return_final'] > -3.0


def test_base_and_residual_vae_stay_frozen_online():
    spar = trained()
    base, vae = (module.state_dict() for module in (spar.agent.base, spar.agent.vae))
    base = {name: value.clone() for name, value in base.items()}
    vae = {name: value.clone() for name, value in vae.items()}
    spar.begin_online()
    for step in range(5):
        spar.update_online(batch_of(step), batch_of(step))
    for before, module in ((base, spar.agent.base), (vae, spar.agent.vae)):
        assert all(torch.equal(value, before[name])
                   for name, value in module.state_dict().items())


@pytest.mark.parametrize('conservative', [0.0, 0.3])
@pytest.mark.parametrize('cut', [10, 30, 55, 75])
def test_an_interrupted_spar_goes_on_as_if_it_had_not_been(cut, conservative):
    """The cut is in each stage; at 30 the diagnostic has seen half of its pairs."""
    whole, torch_state = make(spar_conservative=conservative), None
    for step in range(80):
        if step == cut:
            arrays, state = whole.arrays(), json.loads(json.dumps(whole.state()))
            torch_state = torch.get_rng_state()
        update(whole, step)
    rest = make(spar_conservative=conservative)
    update(rest, 0)  # whatever it has learned or seen is to be replaced
    if cut > 70:
        rest.begin_online()
    rest.load_arrays(arrays)
    rest.load_state(state)
    torch.set_rng_state(torch_state)
    for step in range(cut, 80):
        update(rest, step)
    assert equal(rest.agent, whole.agent)
    assert rest.geometry == whole.geometry is not None
    assert rest.state() == whole.state()


def update(spar, step):
    if step == 70:
        spar.begin_online()
    if step < 70:
        spar.update_offline(batch_of(step), step)
    else:
        spar.update_online(batch_of(step), batch_of(step))


def test_the_trainer_takes_spar_through_its_stages_and_online(tmp_path):
    summary = trainer_of(tmp_path, algorithm='spar', **{**TINY, 'warmup_steps': 20},
                         steps=60).run()
    last = summary['curve'][-1]
    assert (last['steps'], last['updates'], last['projection']) == (60, 40, 0.0)
    assert 0.0 <= last['fragmented'] <= 0.5
    assert last['raw_share_evaluated'] == 1.0


# No action gradient of the critic


@pytest.mark.parametrize('projection', ['mlp', 'proj'])
def test_the_policy_update_takes_no_gradient_of_the_critic(projection):
    agent = trained(spar_projection=projection).agent
    o = batch_of(1)['observation']
    graphs = []

    def look(module, inputs, output):
        graphs.append(any(x.requires_grad for x in inputs) or output.requires_grad)
    hook = agent.critic.register_forward_hook(look)
    agent.zero_grad(set_to_none=True)
    agent.imitate(batch_of(1))
    assert graphs and not any(graphs)
    for module in (agent.critic, agent.value, agent.vae, agent.base):
        assert all(parameter.grad is None for parameter in module.parameters())
    # The hook finds what it looks for where the critic is climbed.
    agent.critic(o, agent.action(o))
    assert graphs[-1]
    hook.remove()


def test_the_values_ask_for_no_action_outside_the_batch():
    agent = trained().agent
    asked = []
    for critic in (agent.critic, agent.target):
        critic.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[1]))
    batch = batch_of(3)
    agent.update_values(batch)
    assert len(asked) == 2
    assert all(torch.equal(action, batch['action']) for action in asked)


def gap_to_the_data(agent, batch):
    """Return the mean of the data's values less those of the decoder's actions."""
    o, base = batch['observation'], agent.base(batch['observation'])
    drawn = draw_candidates(agent.residual_decoder, o, base, torch.zeros(len(o), 1),
                            sigma=1.0, bound=2.0,
                            noise=candidate_noise(np.random.default_rng(5), 16, len(o), 1))
    others = candidate_values(agent.critic, o, base + drawn.residual)[..., 0]
    with torch.no_grad():
        return float((agent.critic(o, batch['action'])[..., 0] - others.mean(1)).mean())


def test_conservative_values_are_lower_where_the_decoder_can_go_and_the_data_did_not():
    """In-sample values alone led self-imitation off the demonstrations' way (spar.md)."""
    gaps = []
    for weight in (0.0, 1.0):
        agent, batch = trained(spar_conservative=weight).agent, batch_of(3)
        agent.set_learning_rate(3e-3)
        frozen = [parameter.clone() for module in (agent.base, agent.vae)
                  for parameter in module.parameters()]
        for _ in range(150):
            agent.update_values(batch, conservative=True)
        gaps.append(gap_to_the_data(agent, batch))
        assert all(torch.equal(a, b) for a, b in zip(
            frozen, [parameter for module in (agent.base, agent.vae)
                     for parameter in module.parameters()]))
    assert gaps[1] > gaps[0] + 0.3, 'the data has a spread of 0.3'


def test_self_imitation_moves_the_acting_policy_only():
    agent = trained(spar_projection='proj').agent
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    agent.imitate(batch_of(1))
    moved = {name.split('.')[0] for name, value in agent.state_dict().items()
             if not torch.equal(value, before[name])}
    assert moved == {'latent_policy'}


# Candidates


def test_candidates_keep_to_the_latent_bound_and_the_action_bounds():
    agent = trained().agent
    o = torch.randn(40, N)
    base = torch.rand(40, D) * 2 - 1
    drawn = draw_candidates(agent.residual_decoder, o, base, torch.full((40, 1), 1.9),
                            sigma=3.0, bound=2.0,
                            noise=candidate_noise(np.random.default_rng(0), 8, 40, 1))
    assert drawn.latent.abs().max() <= 2.0
    assert (base + drawn.residual).abs().max() <= 1.0 + 1e-6
    assert torch.equal(drawn.latent[0], torch.full((40, 1), 1.9))


def test_the_best_candidate_has_the_greatest_weight_at_any_scale_of_reward():
    value = torch.tensor([[1.0], [2.0], [4.0]])
    weight = candidate_weights(value, 0.5)
    assert torch.allclose(weight.sum(0), torch.ones(1))
    assert weight.argmax(0) == 2
    assert torch.allclose(weight, candidate_weights(1000.0 * value - 7.0, 0.5), atol=1e-5)


def test_a_state_whose_candidates_are_nearly_alike_moves_less_than_one_where_they_differ():
    """Fault of 0.1.0: by each state's own spread, noise moved it as far as a difference."""
    weight = candidate_weights(torch.tensor([[0.0, 0.0], [0.001, 1.0]]), 1.0)
    assert float(weight[1, 0]) < 0.51 and float(weight[1, 1]) > 0.9


def test_candidates_of_equal_value_have_equal_weight():
    assert torch.allclose(candidate_weights(torch.full((4, 3), 5.0), 0.1),
                          torch.full((4, 3), 0.25))


def test_latents_settle_away_from_their_bound_when_values_are_nothing_but_noise():
    """With `spar_centre` 1 they climb what is not there."""
    reach = {}
    for centre in (0.5, 1.0):
        agent = make(spar_projection='proj', spar_centre=centre, latent_dim=2, spar_fit=0.0,
                     spar_temperature=0.5, offline_learning_rate=3e-3).agent
        with torch.no_grad():
            agent.residual_decoder.net.layers[-1].weight.normal_(0.0, 0.3)
        for _ in range(150):
            agent.imitate(batch_of(0))
        with torch.no_grad():
            reach[centre] = float(agent.latent_policy(batch_of(0)['observation']).abs().mean())
    assert reach[0.5] < 0.8
    assert reach[1.0] > 1.5 * reach[0.5]


def test_spar_proj_stays_in_the_range_of_its_decoder():
    spar = trained(spar_projection='proj')
    agent, o = spar.agent, 3.0 * torch.randn(20, N)
    with torch.no_grad():
        action = agent.action(o)
        grid = torch.linspace(-2.0, 2.0, 4001)[:, None]
        for one, made in zip(o, action):
            reach = agent.decoded(one.expand(len(grid), -1), grid)
            assert (reach - made).norm(dim=-1).min() < 1e-3


def test_exploration_of_spar_proj_stays_in_the_range_of_its_decoder():
    spar = trained(spar_projection='proj')
    rng, grid = np.random.default_rng(0), torch.linspace(-2.0, 2.0, 4001)[:, None]
    for _ in range(10):
        o = rng.standard_normal(N)
        action = torch.from_numpy(spar.choose(o, rng, True).action.astype(np.float32))
        with torch.no_grad():
            reach = spar.agent.decoded(torch.from_numpy(spar.normaliser(o)).expand(4001, -1), grid)
        assert (reach - action).norm(dim=-1).min() < 1e-3


def test_a_multiplier_turns_the_weights_towards_the_cheap_candidate():
    """Two candidates, of which the better one costs."""
    agent = make(constraints=1).agent
    values = torch.tensor([[2.0, 5.0], [1.0, 0.0]])
    assert agent.lagrangian(values).argmax() == 0
    agent.multipliers.fill_(1.0)
    assert agent.lagrangian(values).argmax() == 1


def test_cost_values_come_to_the_cost_of_the_data():
    """A cost of 1 each step with a discount of 0.5 is worth 2."""
    agent = make(constraints=1, offline_learning_rate=1e-2, tau=0.1).agent
    for step in range(150):
        agent.update_values(batch_of(step, constraints=1))
    batch = batch_of(0, constraints=1)
    with torch.no_grad():
        cost = agent.critic(batch['observation'], batch['action'])[..., 1]
    assert cost.mean() == pytest.approx(2.0, abs=0.2)


# Geometry


def residuals(modes, count=1500, seed=0):
    """Return states (N, 4) and residuals (N, 3) with modes 1.2 apart that depend on the state."""
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((count, 4))
    which = rng.integers(modes, size=count)[:, None] - (modes - 1) / 2
    line = np.array([[1.0, 0.3, -0.5]])
    noise = rng.standard_normal((count, 3)) @ np.array([[0.2, 0.1, 0], [0, 0.1, 0], [0, 0, 0.05]])
    return states, 1.2 * which * line + noise


@pytest.mark.parametrize(('modes', 'projection'), [(1, 'mlp'), (2, 'proj'), (3, 'proj')])
def test_the_diagnostic_tells_one_mode_from_several(modes, projection):
    found = residual_geometry(*residuals(modes), seed=0)
    assert found.projection == projection
    right = np.mean([count == 1 for count in found.components])
    assert right > 0.8 if modes == 1 else right < 0.2


def test_a_correlated_gaussian_is_one_mode():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((300, 1)) @ np.ones((1, 3)) + 0.1 * rng.standard_normal((300, 3))
    assert count_modes(points, rng) == 1


def test_residuals_of_no_extent_are_one_mode():
    assert count_modes(np.zeros((50, 3)), np.random.default_rng(0)) == 1


def test_pairs_drawn_twice_are_no_modes():
    states, rows = residuals(1, count=200)
    again = np.random.default_rng(1).integers(0, 200, 1500)
    found = residual_geometry(states[again], rows[again], seed=0)
    assert found.projection == 'mlp'


def test_the_diagnostic_gives_the_same_answer_for_the_same_seed():
    one, two = (residual_geometry(*residuals(2), seed=3) for _ in range(2))
    assert one == two


def test_too_little_data_counts_as_one_mode():
    found = residual_geometry(np.zeros((5, 2)), np.eye(5, 2), seed=0)
    assert found.components == () and found.projection == 'mlp'


def test_geometry_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match='5 observations, 4 residuals'):
        residual_geometry(np.zeros((5, 2)), np.zeros((4, 2)), seed=0)


def test_auto_takes_what_the_diagnostic_finds():
    """Actions at +-0.6 whatever the state are two modes about any base."""
    spar = make(spar_base_steps=60, cvae_steps=30, iql_steps=60, align_steps=20)
    for step in range(90):
        batch = batch_of(step)
        batch['action'] = 0.6 * batch['action'][:, :1].sign() + 0.05 * batch['action']
        spar.update_offline(batch, step)
    assert spar.agent.projection == 'proj'
    assert spar.diagnostics(0) == {'projection': 1.0, 'fragmented': spar.geometry.fragmented}


# Drift


class Circle(torch.nn.Module):
    """g = 0.5 (cos z, sin z): a curve in the plane, tangent (-sin z, cos z)."""

    def forward(self, observation, base_action, latent):
        return 0.5 * torch.cat([latent.cos(), latent.sin()], -1)


def test_the_jacobian_of_a_known_curve():
    z = torch.tensor([[0.3], [1.2]])
    j = decoder_jacobian(Circle(), torch.zeros(2, N), torch.zeros(2, D), z)
    assert torch.allclose(j[..., 0], 0.5 * torch.cat([-z.sin(), z.cos()], -1))


def test_only_what_leaves_the_curve_counts_as_normal():
    z = torch.tensor([[0.3]])
    tangent = torch.cat([-z.sin(), z.cos()], -1)
    radius = torch.cat([z.cos(), z.sin()], -1)
    j = decoder_jacobian(Circle(), torch.zeros(1, N), torch.zeros(1, D), z)
    assert float(normal_share(j, 5.0 * tangent)) == pytest.approx(0.0, abs=1e-5)
    assert float(normal_share(j, 5.0 * radius)) == pytest.approx(1.0, abs=1e-5)
    assert float(normal_share(j, tangent + radius)) == pytest.approx(0.5 ** 0.5, abs=1e-5)


def test_self_imitation_leaves_a_curve_in_proportion_to_the_candidates_spread():
    """Second order: the chord of an arc leaves it by its curvature times sigma squared."""
    z = torch.zeros(1, 1)
    o, base = torch.zeros(1, N), torch.zeros(1, D)
    j = decoder_jacobian(Circle(), o, base, z)
    shares = []
    for sigma in (0.4, 0.1):
        drawn = draw_candidates(
            Circle(), o, base, z, sigma=sigma, bound=2.0,
            noise=candidate_noise(np.random.default_rng(0), 2000, 1, 1))
        weight = candidate_weights(drawn.residual[..., 1], 0.5)  # up is better
        shares.append(float(normal_share(j, drawn.mean(weight)[1] - Circle()(o, base, z))))
    assert shares[0] < 0.5
    assert shares[1] < 0.35 * shares[0]


def test_a_critic_gradient_leaves_the_manifold_and_self_imitation_does_not():
    drift = measure_drift(trained(spar_projection='proj', spar_sigma=0.1).agent, batch_of(5))
    assert drift['self_imitation'] < 0.3 * drift['critic_gradient']


def test_measuring_drift_leaves_the_agent_as_it_was():
    agent = trained().agent
    state = agent.rng_state()
    measure_drift(agent, batch_of(5))
    assert agent.rng_state() == state
    assert all(p.grad is None or p.grad.isfinite().all() for p in agent.critic.parameters())


def test_drift_needs_fewer_latents_than_actions():
    with pytest.raises(ValueError, match='latent_dim 2: has to be less than the 2'):
        measure_drift(make(latent_dim=2).agent, batch_of())


# Bad input


def test_more_latents_than_actions_are_refused():
    with pytest.raises(ValueError, match='latent_dim 3: has to be at most the 2'):
        make(latent_dim=3)


@pytest.mark.parametrize(('field', 'value'), [
    ('spar_candidates', 0), ('spar_base_steps', 0), ('spar_sigma', 0.0), ('spar_scale', 3.0),
    ('spar_temperature', 0.0), ('spar_fit', -1.0), ('spar_projection', 'gmm'),
    ('latent_dim', 0)])
def test_a_bad_setting_is_refused_by_name(field, value):
    with pytest.raises((ValidationError, ValueError), match=field):
        make(**{field: value})


def test_no_time_left_for_self_imitation_is_refused():
    with pytest.raises(ValueError, match='spar_base_steps 60: has to be less than .* 50'):
        make(spar_base_steps=60)


@pytest.mark.parametrize('wrong', [[-1.0], [float('nan')], [1.0, 2.0]])
def test_bad_multipliers_are_refused(wrong):
    with pytest.raises(ValueError, match='expected 1 finite values'):
        make(constraints=1).set_multipliers(np.array(wrong))


# TD3+BC


def test_td3_bc_beats_the_policy_that_made_its_data(tmp_path):
    summary = trainer_of(tmp_path, algorithm='td3-bc', steps=0,
                         cvae_steps=0, iql_steps=250).run()
    assert summary['return_final'] > -2.5


def test_td3_bc_without_values_is_behaviour_cloning():
    """Where Q is flat nothing but the data's action attracts the policy."""
    algorithm = make(name='td3-bc', offline_learning_rate=1e-2)
    with torch.no_grad():
        for parameter in algorithm.critic.parameters():
            parameter.zero_()
    batch = batch_of(0, size=4)
    for parameter in algorithm.critic.parameters():
        parameter.requires_grad_(False)
    algorithm.critic.weights[-1].requires_grad_(True)
    for _ in range(300):
        with torch.no_grad():
            algorithm.critic.weights[-1].zero_()
        algorithm.update_offline(batch, 0)
    with torch.no_grad():
        assert (algorithm.policy(batch['observation']) - batch['action']).abs().max() < 0.1


def test_td3_bc_updates_its_policy_every_second_time():
    algorithm = make(name='td3-bc')
    assert 'policy' not in algorithm.update_offline(batch_of(0), 0)
    assert 'policy' in algorithm.update_offline(batch_of(1), 1)


# Raw candidate of the SPAARS gate


def gated(**changes):
    """Return SPAARS with a residual candidate after its offline phase, its gate open."""
    spaars = make(name='spaars', raw_candidate='residual', **changes)
    for step in range(spaars.offline_steps):
        spaars.update_offline(batch_of(step), step)
    spaars.begin_online()
    spaars.agent.gated = True
    return spaars


def test_the_residual_candidate_never_climbs_the_critic():
    agent = gated().agent
    graphs = []
    agent.critic.register_forward_pre_hook(
        lambda module, inputs: graphs.append(inputs[1].requires_grad))
    o = batch_of(1)['observation']
    decoded = agent.latent_action(o).detach()
    raw = agent.raw_policy(o)
    loss = agent.residual_loss(o, raw, decoded, agent.limits(), *agent.drawn(len(o)))
    assert graphs and not any(graphs)
    agent.zero_grad(set_to_none=True)
    loss.backward()
    assert all(parameter.grad is None for parameter in agent.critic.parameters())
    assert any(parameter.grad.any() for parameter in agent.raw_policy.parameters())


def test_the_residual_candidate_is_trained_towards_what_the_trust_box_holds():
    spaars = gated(raw_bc=0.0)
    agent = spaars.agent
    agent.trust = 0.05
    batch = batch_of(1)
    o = batch['observation']
    agent.set_learning_rate(1e-2)
    for _ in range(150):
        agent.update_raw(batch)
    with torch.no_grad():
        off = (agent.raw_policy(o) - agent.latent_action(o)).abs()
    assert off.mean() < 0.06


def test_spaars_with_a_residual_candidate_goes_on_from_its_tensors():
    spaars = gated()
    other = make(seed=1, name='spaars', raw_candidate='residual')
    other.begin_online()
    other.load_arrays(spaars.arrays())
    other.load_state(json.loads(json.dumps(spaars.state())))
    other.agent.gated = True
    for one in (spaars, other):
        for step in range(30):
            one.update_online(batch_of(step), batch_of(step))
    assert equal(spaars.agent, other.agent)


def test_without_the_option_spaars_has_no_residual():
    agent = make(name='spaars').agent
    assert agent.residual is None
    assert 'residual' not in agent.trained()


def test_a_residual_of_no_decoder_is_refused():
    with pytest.raises(ValueError, match="raw_candidate 'residual': mode 'raw-only'"):
        make(name='spaars', raw_candidate='residual', mode='raw-only')


# The benchmark


def test_bench_drift_measures_both_projections(tmp_path):
    if 'SpaarsTestPoint-v0' not in gymnasium.registry:
        gymnasium.register('SpaarsTestPoint-v0', entry_point=Point)
    save_transitions(data_of(), tmp_path / 'point.npz')
    rows = run_drift(env='SpaarsTestPoint-v0', data=str(tmp_path / 'point.npz'), seeds=[0],
                     training='locomotion', overrides=TINY, out=tmp_path, say=str)
    assert [row['projection'] for row in rows] == ['mlp', 'proj']
    for row in rows:
        assert 0.0 <= row['self_imitation'] <= 1.0
        assert row['random'] == pytest.approx(2.0 / np.pi, abs=0.03)  # E |sin| of an angle


def test_bench_drift_without_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match='name --data'):
        run_drift(env='Hopper-v5', data='', seeds=[0], training='locomotion', overrides={},
                  out=tmp_path, say=str)
