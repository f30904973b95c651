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

"""Transitions of any environment: files good and bad, time limits, scores, rollouts."""

from pathlib import Path
import pickle
import re
import subprocess
import sys
import warnings

import gymnasium
import h5py
import numpy as np
import onnx
from onnx import helper
from onnx import numpy_helper
import pytest
import torch
from typer.testing import CliRunner

import spaars_ros
from spaars_ros.cli import app
from spaars_ros.data.scores import normalised_score
from spaars_ros.data.transitions import DataError
from spaars_ros.data.transitions import DataWarning
from spaars_ros.data.transitions import load_transitions
from spaars_ros.data.transitions import save_transitions
from spaars_ros.data.transitions import transitions_from_fields
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import replay_of_transitions
from spaars_ros.sim.collect import OnnxPolicy
from spaars_ros.sim.collect import roll_out
from spaars_ros.sim.collect import RolloutError
from spaars_ros.sim.environments import make_environment
from spaars_ros.sim.environments import REACH

pytestmark = pytest.mark.timeout(60)

LENGTHS = (6, 10, 3, 10, 1)
LIMIT = 10


class Walk(gymnasium.Env):
    """A random walk in two dimensions that ends beyond 3, with a cost where asked for."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(np.float32([-1, -2]), np.float32([1, 2]))

    def __init__(self, *, cost=False, shared=False):
        self.cost = cost
        self.shared = shared

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal(0, 0.1, 2).astype(np.float32)
        return self.place, {}

    def step(self, action):
        if not self.shared:
            self.place = self.place.copy()
        self.place += action
        over = bool(np.abs(self.place).max() > 3)
        info = {'cost': float(self.place[0] > 0)} if self.cost else {}
        if self.cost == 'seldom' and not info['cost']:
            info = {}
        return self.place, float(-np.abs(self.place).sum()), over, False, info


gymnasium.register('spaars/Walk-v0', entry_point=f'{__name__}:Walk', max_episode_steps=LIMIT)
gymnasium.register('spaars/CostWalk-v0', entry_point=f'{__name__}:Walk', max_episode_steps=LIMIT,
                   kwargs={'cost': True})


gymnasium.register('spaars/SeldomWalk-v0', entry_point=f'{__name__}:Walk',
                   max_episode_steps=LIMIT, kwargs={'cost': 'seldom'})


@pytest.fixture
def env():
    made = gymnasium.make('spaars/Walk-v0')
    yield made
    made.close()


def fields(lengths=LENGTHS, seed=0):
    """Whole episodes: those of LIMIT steps are truncated, shorter ones terminated."""
    rng = np.random.default_rng(seed)
    parts = []
    for length in lengths:
        walk = rng.normal(0, 1, (length + 1, 2)).astype(np.float32)
        end = np.arange(length) == length - 1
        parts.append({'observations': walk[:-1], 'next_observations': walk[1:],
                      'actions': rng.uniform(-1, 1, (length, 2)).astype(np.float32),
                      'rewards': rng.normal(0, 1, length).astype(np.float32),
                      'terminations': end & (length < LIMIT),
                      'truncations': end & (length == LIMIT)})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def written(path, content):
    if path.suffix == '.npz':
        np.savez(path, **content)
    else:
        with h5py.File(path, 'w') as file:
            for name, array in content.items():
                file[name] = array
    return path


def loaded(path, env=None, **options):
    """Return transitions of a file in which nothing odd is to be found."""
    with warnings.catch_warnings():
        warnings.simplefilter('error', DataWarning)
        return load_transitions(path, env, **options)


def refused(path, env=None):
    with pytest.raises(DataError) as caught:
        load_transitions(path, env)
    assert str(path) in str(caught.value)
    return str(caught.value).replace(str(path), '')


# Files as they should be


@pytest.mark.parametrize('name', ['a.npz', 'a.h5', 'a.hdf5'])
def test_what_is_saved_is_loaded(tmp_path, env, name):
    data = loaded(written(tmp_path / 'raw.npz', fields()), env)
    assert data.episodes == len(LENGTHS)
    assert tuple(data.lengths) == LENGTHS
    data.attributes.update(source='a test', env='spaars/Walk-v0')
    save_transitions(data, tmp_path / name)
    back = loaded(tmp_path / name, env)
    for key, dtype in (('observations', np.float32), ('actions', np.float32),
                       ('rewards', np.float32), ('next_observations', np.float32),
                       ('terminations', np.bool_), ('truncations', np.bool_),
                       ('costs', np.float32), ('episode', np.int64)):
        assert getattr(back, key).dtype == dtype
        np.testing.assert_array_equal(getattr(back, key), getattr(data, key))
    assert back.attributes == {'source': 'a test', 'env': 'spaars/Walk-v0',
                               'file': str(tmp_path / name)}
    assert back.costs.shape == (len(back), 0)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith('.')] == []


def test_returns_are_sums_over_each_episode(tmp_path):
    content = fields()
    data = loaded(written(tmp_path / 'a.npz', content))
    starts = np.r_[0, np.cumsum(LENGTHS)[:-1]]
    np.testing.assert_allclose(data.returns, np.add.reduceat(content['rewards'], starts),
                               rtol=1e-5)


def d4rl(content):
    return {'observations': content['observations'], 'actions': content['actions'],
            'rewards': content['rewards'], 'terminals': content['terminations'],
            'timeouts': content['truncations']}


def test_d4rl_layout_with_next_observations_and_infos(tmp_path, env):
    content = fields()
    path = written(tmp_path / 'a.hdf5', {**d4rl(content), 'infos/qpos': np.zeros((30, 3)),
                                         'metadata/algorithm': np.bytes_('SAC'),
                                         'next_observations': content['next_observations']})
    data = loaded(path, env)
    assert tuple(data.lengths) == LENGTHS
    np.testing.assert_array_equal(data.next_observations, content['next_observations'])


def test_d4rl_without_next_observations_drops_what_has_no_successor(tmp_path):
    """A truncated end has no next observation; a terminated one needs none."""
    content = fields()
    with pytest.warns(DataWarning, match='2 last steps of truncated episodes dropped'):
        data = load_transitions(written(tmp_path / 'a.hdf5', d4rl(content)))
    assert len(data.warnings) == 1
    assert tuple(data.lengths) == (6, 9, 3, 9, 1)
    assert data.terminations.sum() == 3
    assert data.truncations.sum() == 2
    keep = ~content['truncations']
    np.testing.assert_array_equal(data.rewards, content['rewards'][keep])
    going = keep & ~content['terminations']
    np.testing.assert_array_equal(data.next_observations[~data.terminations],
                                  content['next_observations'][going])


def test_reset_into_the_state_that_ended_the_episode_is_not_taken_for_going_on(tmp_path):
    """Without next_observations a terminated step repeats its own."""
    content = fields()
    content['observations'][6] = content['observations'][5]
    with pytest.warns(DataWarning):
        data = load_transitions(written(tmp_path / 'a.hdf5', d4rl(content)))
    assert len(data.warnings) == 1


def test_d4rl_without_next_observations_cut_off_at_the_end(tmp_path):
    content = {name: array[:8] for name, array in fields().items()}  # 6 + 2 of 10
    with pytest.warns(DataWarning, match='1 last steps'):
        data = load_transitions(written(tmp_path / 'a.hdf5', d4rl(content)))
    assert tuple(data.lengths) == (6, 1)
    assert data.truncations[-1]


def test_flags_as_numbers_and_rewards_as_a_column_are_understood(tmp_path):
    content = fields()
    for name in ('terminations', 'truncations'):
        content[name] = content[name].astype(np.float32)
    content['rewards'] = content['rewards'][:, None].astype(np.float64)
    data = loaded(written(tmp_path / 'a.npz', content))
    assert data.rewards.shape == (30,)
    assert data.terminations.dtype == np.bool_


@pytest.mark.parametrize('columns', [None, 1, 2])
def test_costs_become_two_axes(tmp_path, columns):
    shape = (30,) if columns is None else (30, columns)
    content = {**fields(), 'costs': np.arange(np.prod(shape)).reshape(shape)}
    data = loaded(written(tmp_path / 'a.npz', content))
    assert data.costs.shape == (30, columns or 1)
    assert data.costs.sum() == content['costs'].sum()


@pytest.mark.parametrize('seed', range(3))
def test_episodes_are_found_where_observations_do_not_follow(tmp_path, seed):
    """Many recordings have no truncation flags at all."""
    lengths = np.random.default_rng(seed).integers(1, 12, 20)
    content = fields(lengths, seed)
    del content['truncations']
    with pytest.warns(DataWarning, match='end without a flag'):
        data = load_transitions(written(tmp_path / 'a.npz', content))
    assert tuple(data.lengths) == tuple(lengths)
    assert ((data.terminations ^ data.truncations)
            == np.isin(np.arange(len(data)), np.cumsum(lengths) - 1)).all()


@pytest.mark.parametrize('known', [True, False])
def test_stored_episodes_end_where_they_say(tmp_path, known):
    """A robot that starts where it stopped: observations alone would not tell."""
    content = fields((10,))
    content['episode'] = np.repeat([4, 7], [6, 4])
    if not known:
        del content['next_observations']
    with pytest.warns(DataWarning):
        data = load_transitions(written(tmp_path / 'a.npz', content))
    assert tuple(data.lengths) == ((6, 4) if known else (5, 3))
    assert data.episode.max() == 1


def test_rounding_of_observations_makes_no_episodes(tmp_path):
    content = fields()
    content['observations'] = content['observations'] * np.float32(1 + 1e-6)
    assert tuple(loaded(written(tmp_path / 'a.npz', content)).lengths) == LENGTHS


def test_both_flags_on_one_step_are_a_termination(tmp_path):
    """Gymnasium sets both where a robot falls on the last step before the limit."""
    content = fields()
    content['truncations'][5] = True
    with pytest.warns(DataWarning, match='1 steps, the first at 5, have both flags'):
        data = load_transitions(written(tmp_path / 'a.npz', content))
    assert data.terminations[5]
    assert not data.truncations[5]


# Values and shapes that nobody may learn from


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(('name', 'index', 'said'), [
    ('rewards', 7, 'rewards at 7 is'), ('observations', (7, 1), 'observations at 7, 1 is'),
    ('actions', (0, 0), 'actions at 0, 0 is'),
    ('next_observations', (29, 1), 'next_observations at 29, 1 is')])
def test_not_finite_is_named(tmp_path, name, index, value, said):
    content = fields()
    content[name][index] = value
    assert f'{said} {value}' in refused(written(tmp_path / 'a.npz', content))


def test_not_finite_is_named_by_its_row_of_the_file_also_where_rows_are_dropped(tmp_path):
    """Rows 15 and 29 end by truncation; without next_observations neither has a successor."""
    for row in (15, 25):
        content = fields()
        content['rewards'][row] = np.nan
        assert f'rewards at {row} is nan' in refused(written(tmp_path / 'a.hdf5', d4rl(content)))


def test_episodes_longer_than_the_environments_are_said(tmp_path, env):
    """Nothing tells where one ends: the step over each reset would be learned from."""
    content = d4rl(fields((10, 10, 10)))
    del content['timeouts']
    with pytest.warns(DataWarning, match='rows 0 to 28 are one episode of 29 steps, and the '
                                         'environment ends them after 10'):
        load_transitions(written(tmp_path / 'a.hdf5', content), env)


def test_not_finite_cost_is_named(tmp_path):
    content = {**fields(), 'costs': np.zeros(30)}
    content['costs'][4] = np.nan
    assert 'costs at 4, 0 is nan' in refused(written(tmp_path / 'a.npz', content))


def test_what_float32_cannot_hold_is_named(tmp_path):
    content = fields()
    content['rewards'] = content['rewards'].astype(np.float64)
    content['rewards'][3] = 1e300
    assert 'rewards at 3 is inf' in refused(written(tmp_path / 'a.npz', content))


def test_not_finite_is_not_written_over_a_good_file(tmp_path):
    data = loaded(written(tmp_path / 'a.npz', fields()))
    data.rewards[2] = np.nan
    with pytest.raises(DataError, match='rewards at 2'):
        save_transitions(data, tmp_path / 'a.npz')
    loaded(tmp_path / 'a.npz')


def test_actions_beyond_the_bounds_are_named(tmp_path, env):
    content = fields()
    content['actions'][4] = [0.0, 2.5]
    content['actions'][9] = [-1.1, 0.0]
    path = written(tmp_path / 'a.npz', content)
    assert 'actions at 4, 1 is 2.5, outside [-2, 2], and 1 more' in refused(path, env)
    loaded(path)  # without an environment there is nothing to compare with


def test_actions_on_the_bounds_are_kept_and_have_a_density(tmp_path, env):
    content = fields()
    content['actions'][3] = [1.0, -2.0]
    content['actions'][4] = [1.000001, 2.0]
    data = loaded(written(tmp_path / 'a.npz', content), env)
    np.testing.assert_array_equal(data.actions[3:5], [[1.0, -2.0], [1.0, 2.0]])
    actor = SquashedGaussian(2, 2, 8)
    on_bounds = torch.as_tensor(data.actions[3:5] / np.float32([1, 2]))
    density = actor.log_prob(torch.zeros(2, 2), on_bounds)
    density.sum().backward()
    assert torch.isfinite(density).all()
    assert all(torch.isfinite(p.grad).all() for p in actor.parameters() if p.grad is not None)


@pytest.mark.filterwarnings('ignore:.*end without a flag')
def test_constant_observations_are_said_and_normalised_with_std_one(tmp_path):
    content = fields((2000,) * 20)
    for name in ('observations', 'next_observations'):
        content[name][:, 1] = 1000.1
    with pytest.warns(DataWarning, match='observations 1 never change'):
        data = load_transitions(written(tmp_path / 'a.npz', content))
    normaliser = Normaliser.of(data.observations)
    assert normaliser.std[1] == 1.0
    assert np.abs(normaliser(data.observations)[:, 1]).max() < 1e-3


@pytest.mark.parametrize(('name', 'said'), [
    ('observations', 'observations has 3 values a row, the environment 2'),
    ('actions', 'actions has 3 values a row, the environment 2')])
def test_widths_that_disagree_with_the_environment_are_named(tmp_path, env, name, said):
    content = fields()
    for key in (name, 'next_observations') if name == 'observations' else (name,):
        content[key] = np.pad(content[key], ((0, 0), (0, 1)))
    path = written(tmp_path / 'a.npz', content)
    with pytest.raises(DataError, match=said):
        load_transitions(path, env)


def test_environment_with_other_actions_is_refused(tmp_path):
    content = fields()
    for name in ('observations', 'next_observations'):
        content[name] = np.tile(content[name], (1, 2))
    path = written(tmp_path / 'a.npz', content)
    assert 'Discrete' in refused(path, gymnasium.make('CartPole-v1'))


def test_empty_data_load_and_say_so(tmp_path, env):
    path = written(tmp_path / 'a.npz', {name: array[:0] for name, array in fields().items()})
    with pytest.warns(DataWarning, match='no transition in it'):
        data = load_transitions(path, env)
    assert len(data) == data.episodes == len(data.returns) == 0
    save_transitions(data, tmp_path / 'b.h5')
    with pytest.warns(DataWarning, match='no transition in it'):
        assert len(load_transitions(tmp_path / 'b.h5')) == 0


def test_data_that_say_nothing_of_success_are_said_so(tmp_path, env):
    columns = fields()
    columns['rewards'] = np.full_like(columns['rewards'], -1.0)
    columns['terminations'] = np.zeros_like(columns['terminations'])
    columns['truncations'] = np.zeros_like(columns['truncations'])
    columns['truncations'][-1] = True
    with pytest.warns(DataWarning, match='every reward is -1 and no episode terminates'):
        load_transitions(written(tmp_path / 'a.npz', columns), env)


def test_one_transition_can_be_sampled_again_and_again(tmp_path, env):
    path = written(tmp_path / 'a.npz', {name: array[:1] for name, array in fields().items()})
    with pytest.warns(DataWarning, match='one transition only'):
        data = load_transitions(path, env)
    assert data.truncations.tolist() == [True]
    replay = replay_of_transitions(data, Normaliser.of(data.observations), gamma=0.9, n_step=3)
    batch = replay.sample(16, np.random.default_rng(0))
    assert all(torch.isfinite(tensor).all() for tensor in batch.values())
    np.testing.assert_allclose(batch['reward'], data.rewards[0])
    np.testing.assert_allclose(batch['discount'], 0.9)


@pytest.mark.parametrize('name', ['actions', 'rewards', 'next_observations', 'terminations',
                                  'truncations'])
def test_lengths_that_disagree_are_named(tmp_path, name):
    content = fields()
    content[name] = content[name][:-1]
    path = written(tmp_path / 'a.npz', content)
    assert f'{name} has 29 entries, observations 30' in refused(path)


def test_next_observations_of_another_width_are_named(tmp_path):
    content = fields()
    content['next_observations'] = content['next_observations'][:, :1]
    assert 'next_observations has shape (30, 1)' in refused(written(tmp_path / 'a.npz', content))


@pytest.mark.parametrize('name', ['observations', 'actions', 'rewards', 'terminations'])
@pytest.mark.parametrize('ending', ['npz', 'h5'])
def test_missing_field_is_named(tmp_path, name, ending):
    content = fields()
    del content[name]
    assert f'field {name} is missing' in refused(written(tmp_path / f'a.{ending}', content))


@pytest.mark.parametrize(('name', 'shape'), [
    ('observations', (30, 2, 1)), ('actions', (60,)), ('rewards', (15, 2))])
def test_wrong_axes_are_named(tmp_path, name, shape):
    content = fields()
    content[name] = np.zeros(shape, np.float32)
    assert f'{name} has shape {shape}' in refused(written(tmp_path / 'a.npz', content))


def test_flag_that_is_neither_0_nor_1_is_named(tmp_path):
    content = fields()
    content['terminations'] = content['terminations'].astype(np.int8)
    content['terminations'][11] = 2
    assert 'terminations at 11 is 2' in refused(written(tmp_path / 'a.npz', content))


# Files that are no such files


class Trap:
    """Unpickled, this would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), 'w'))


def test_object_arrays_are_refused_and_not_unpickled(tmp_path):
    trap = np.empty(30, object)
    trap[:] = [Trap(tmp_path / 'sprung')] * 30
    path = tmp_path / 'a.npz'
    np.savez(path, **{**fields(), 'rewards': trap})
    refused(path)
    assert not (tmp_path / 'sprung').exists()


def test_pickle_named_npz_is_refused_and_not_unpickled(tmp_path):
    path = tmp_path / 'a.npz'
    path.write_bytes(pickle.dumps(Trap(tmp_path / 'sprung')))
    assert 'not a readable NumPy archive' in refused(path)
    assert not (tmp_path / 'sprung').exists()


def test_single_npy_array_named_npz_is_refused(tmp_path):
    with open(tmp_path / 'a.npz', 'wb') as file:
        np.save(file, np.zeros(3))
    refused(tmp_path / 'a.npz')


@pytest.mark.parametrize('share', [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize('ending', ['npz', 'h5'])
def test_file_cut_short_is_refused(tmp_path, ending, share):
    path = written(tmp_path / f'a.{ending}', fields((10,) * 200))
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    assert 'not a readable' in refused(path)


def test_archive_with_a_flipped_byte_is_refused(tmp_path):
    """A zip archive has checksums; an error of the disc must not become an observation."""
    path = written(tmp_path / 'a.npz', fields((10,) * 200))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    assert 'not a readable' in refused(path)


def test_text_in_hdf5_is_refused(tmp_path):
    content = {**fields(), 'rewards': np.array(['much'] * 30, h5py.string_dtype())}
    assert 'rewards holds object, no numbers' in refused(written(tmp_path / 'a.h5', content))


@pytest.mark.parametrize('name', ['a.csv', 'a.npz', 'minari:no/such-v0'])
def test_what_is_not_there_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setenv('MINARI_DATASETS_PATH', str(tmp_path))
    with pytest.raises(DataError, match='unknown format|no such file|not found'):
        load_transitions(name if name.startswith('minari') else tmp_path / name)


def test_unknown_ending_is_not_written(tmp_path):
    data = transitions_from_fields(fields())
    with pytest.raises(DataError, match='unknown format'):
        save_transitions(data, tmp_path / 'a.csv')
    assert not list(tmp_path.iterdir())


# Truncation stored as termination


def test_terminations_at_the_time_limit_are_found_and_can_be_put_right(tmp_path, env):
    content = fields()
    content['terminations'] |= content['truncations']
    content['truncations'][:] = False
    content = {name: np.concatenate([array, array]) for name, array in content.items()}
    path = written(tmp_path / 'a.npz', content)
    with pytest.warns(DataWarning, match='4 of 10 terminations, the first at 15, end exactly at '
                                         'the time limit of 10'):
        data = load_transitions(path, env)
    assert data.terminations.sum() == 10
    with pytest.warns(DataWarning, match='taken as truncations'):
        data = load_transitions(path, env, fix=True)
    assert data.terminations.sum() == 6
    assert (data.lengths[data.episode[data.truncations]] == LIMIT).all()
    assert not (data.terminations & data.truncations).any()
    save_transitions(data, path)
    loaded(path, env)


def test_time_limit_is_seen_without_an_environment_where_it_is_clear(tmp_path):
    content = fields((10, 10, 10))
    content['terminations'], content['truncations'] = \
        content['truncations'], content['terminations']
    with pytest.warns(DataWarning, match='3 of 3 terminations'):
        load_transitions(written(tmp_path / 'a.npz', content))


def test_true_ends_shortly_before_and_at_the_limit_are_left_alone(tmp_path, env):
    """Robots that fall about then fall on the last step too."""
    content = fields((9, 9, 10, 10, 10, 9, 9, 4))
    at_limit = np.flatnonzero(content['truncations'])[0]
    content['terminations'][at_limit], content['truncations'][at_limit] = True, False
    assert loaded(written(tmp_path / 'a.npz', content), env).terminations.sum() == 6


def test_falls_at_the_limit_that_are_no_more_than_before_it_are_left_alone(tmp_path, env):
    content = fields((9, 9, 9, 9, 10, 10, 10, 10, 4))
    at_limit = np.flatnonzero(content['truncations'])[:3]
    content['terminations'][at_limit], content['truncations'][at_limit] = True, False
    assert loaded(written(tmp_path / 'a.npz', content), env).terminations.sum() == 8


def test_one_true_end_is_not_taken_for_a_time_limit(tmp_path):
    with pytest.warns(DataWarning, match='one episode only') as said:
        data = load_transitions(written(tmp_path / 'a.npz', fields((7,))))
    assert data.terminations.sum() == 1 and len(said) == 1


def test_states_that_go_on_after_a_termination_are_found(tmp_path):
    content = fields((10, 10))
    content['terminations'][[3, 6]] = True
    path = written(tmp_path / 'a.npz', content)
    with pytest.warns(DataWarning, match='2 of 2 terminations, the first at 3, continue'):
        load_transitions(path)
    with pytest.warns(DataWarning):
        data = load_transitions(path, fix=True)
    assert np.flatnonzero(data.truncations).tolist() == [3, 6, 9, 19]


def test_one_stray_end_does_not_hide_the_time_limits(tmp_path, env):
    content = fields((10,) * 10)
    content['terminations'], content['truncations'] = \
        content['truncations'], content['terminations']
    content['terminations'][3] = True  # and goes on
    path = written(tmp_path / 'a.npz', content)
    with pytest.warns(DataWarning, match='1 of 11 terminations, the first at 3, continue .*, and '
                                         '9 of 11 terminations, the first at 19, end exactly'):
        data = load_transitions(path, env, fix=True)
    # The first episode of 10 steps is in two parts, so its end is at no limit.
    assert np.flatnonzero(data.terminations).tolist() == [9]


def hopper():
    """Thirty rollouts of random actions, cut after 20 to 26 steps where the robot still stands."""
    pytest.importorskip('imageio', reason='gymnasium.make(Hopper-v5) imports imageio')
    env = gymnasium.make('Hopper-v5')
    env.action_space.seed(0)
    rows = []
    for seed in range(30):
        observation, _ = env.reset(seed=seed)
        over, left = False, 20 + seed % 7
        while left and not over:
            left -= 1
            action = env.action_space.sample()
            after, reward, over, _, _ = env.step(action)
            rows.append((observation, action, reward, after, over, not left and not over))
            observation = after
    names = ('observations', 'actions', 'rewards', 'next_observations', 'terminations',
             'truncations')
    return env, {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}


def test_hopper_that_fell_is_not_taken_for_a_time_limit(tmp_path):
    env, content = hopper()
    assert content['terminations'].sum() >= 5
    path = written(tmp_path / 'a.npz', content)
    assert loaded(path, env).terminations.sum() == content['terminations'].sum()


def test_hopper_that_fell_is_left_alone_where_the_state_that_it_fell_into_is_not_known(tmp_path):
    """D4RL's older files: what is healthy is the state before the fall, which stands for it."""
    env, content = hopper()
    falls = int(content['terminations'].sum())
    with pytest.warns(DataWarning) as said:
        data = load_transitions(written(tmp_path / 'a.hdf5', d4rl(content)), env, fix=True)
    assert data.terminations.sum() == falls
    assert len(said) == 1 and 'dropped' in str(said[0].message)


def test_hopper_that_stands_where_it_was_terminated_is_found(tmp_path):
    """Streams cut at arbitrary places: no two lengths need be the same."""
    env, content = hopper()
    cut = content['truncations'].copy()
    assert 5 <= cut.sum() <= 25
    content['terminations'] |= cut
    content['truncations'][:] = False
    env.reset(seed=5)
    before = env.unwrapped.state_vector()
    with pytest.warns(DataWarning, match=f'{cut.sum()} of .* healthy'):
        load_transitions(written(tmp_path / 'a.npz', content), env)
    np.testing.assert_array_equal(env.unwrapped.state_vector(), before)


# Minari


@pytest.fixture
def minari_set(tmp_path, monkeypatch):
    """Minari's own files, made offline of buffers, since its collector needs JAX."""
    minari = pytest.importorskip('minari')
    from minari.data_collector import EpisodeBuffer
    monkeypatch.setenv('MINARI_DATASETS_PATH', str(tmp_path / 'minari'))
    content = fields()
    buffers = []
    for i, end in enumerate(np.cumsum(LENGTHS)):
        rows = slice(end - LENGTHS[i], end)
        buffers.append(EpisodeBuffer(
            id=i, actions=content['actions'][rows],
            observations=np.concatenate([content['observations'][rows],
                                         content['next_observations'][end - 1:end]]),
            **{name: list(content[name][rows])
               for name in ('rewards', 'terminations', 'truncations')}))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # no author, no e-mail
        minari.create_dataset_from_buffers('walk/test-v0', buffers,
                                           env=gymnasium.make('spaars/Walk-v0'))
    return content


@pytest.mark.parametrize('by', ['id', 'path'])
def test_minari_data_set_is_what_its_collector_saw(minari_set, env, tmp_path, by):
    name = 'walk/test-v0' if by == 'id' else tmp_path / 'minari' / 'walk' / 'test-v0'
    data = loaded(f'minari:{name}', env)
    assert data.attributes['env'] == 'spaars/Walk-v0'
    assert tuple(data.lengths) == LENGTHS
    for key in ('actions', 'rewards', 'terminations', 'truncations', 'next_observations'):
        np.testing.assert_array_equal(getattr(data, key), minari_set[key])
    np.testing.assert_array_equal(data.observations, minari_set['observations'])


def test_minari_observations_that_are_no_rows_are_refused(tmp_path, monkeypatch):
    """Goal tasks hold dictionaries: which part is the observation is not ours to guess."""
    minari = pytest.importorskip('minari')
    from minari.data_collector import EpisodeBuffer
    monkeypatch.setenv('MINARI_DATASETS_PATH', str(tmp_path))
    box = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    walk = np.zeros((4, 2), np.float32)
    buffer = EpisodeBuffer(id=0, observations={'goal': walk, 'place': walk}, actions=walk[1:],
                           rewards=[0.0] * 3, terminations=[False] * 3,
                           truncations=[False, False, True])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        minari.create_dataset_from_buffers(
            'goal/test-v0', [buffer], env='spaars/Walk-v0', action_space=box,
            observation_space=gymnasium.spaces.Dict({'goal': box, 'place': box}))
    with pytest.raises(DataError, match='observations of episode 0 is a dict'):
        load_transitions('minari:goal/test-v0')


def test_minari_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'minari', None)
    with pytest.raises(DataError, match='needs the package minari'):
        load_transitions('minari:walk/test-v0')


# Scores


@pytest.mark.parametrize(('env_id', 'ret', 'score'), [
    ('Hopper-v5', 2996.7, 92.7), ('Walker2d-v5', 4725.4, 102.9),
    ('HalfCheetah-v5', 12135.0, 100.0), ('hopper-medium-v2', -20.272305, 0.0),
    ('FrankaKitchen-v1', 3.0, 75.0)])
def test_scores_are_those_of_the_reference(env_id, ret, score):
    assert normalised_score(env_id, ret) == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize('env_id', ['Pendulum-v1', 'Ant-v5', 'spaars/Walk-v0'])
def test_environment_without_reference_has_no_score(env_id):
    assert normalised_score(env_id, 1.0) is None


# Rollouts of a policy


def graph(path, *, n=2, d=2, gain=0.3, bias=0.0, noise=True, output='action', dtype=np.float32,
          span=(0.9, 1.8)):
    """Write action = 0.9 span tanh(observation W + bias + noise) as ONNX."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    span = np.resize(np.array(span, dtype), d)
    weights = [numpy_helper.from_array(np.full((n, d), gain, dtype), 'W'),
               numpy_helper.from_array(np.full(d, bias, dtype), 'b'),
               numpy_helper.from_array(span, 'span')]
    nodes = [helper.make_node('Gemm', ['observation', 'W', 'b'], ['mean'])]
    if noise:
        nodes.append(helper.make_node('Add', ['mean', 'noise'], ['before']))
    nodes += [helper.make_node('Tanh', ['before' if noise else 'mean'], ['squashed']),
              helper.make_node('Mul', ['squashed', 'span'], [output])]
    widths = {'observation': n, **({'noise': d} if noise else {})}
    body = helper.make_graph(
        nodes, 'policy',
        [helper.make_tensor_value_info(name, kind, ['batch', width])
         for name, width in widths.items()],
        [helper.make_tensor_value_info(output, kind, ['batch', d])], weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_rollouts_are_whole_episodes_and_the_same_for_a_seed(tmp_path, env):
    policy = OnnxPolicy(graph(tmp_path / 'p.onnx'), env)
    one, two, other = (roll_out(env, policy, transitions=200, seed=seed) for seed in (3, 3, 4))
    assert 200 <= len(one) < 200 + LIMIT
    assert (one.terminations | one.truncations)[-1]
    assert one.terminations.any() and one.truncations.any()
    assert one.warnings == []
    np.testing.assert_array_equal(one.observations, two.observations)
    np.testing.assert_array_equal(one.actions, two.actions)
    assert not np.array_equal(one.actions[:10], other.actions[:10])
    starts = one.observations[np.r_[True, np.diff(one.episode) == 1]]
    assert len(np.unique(starts[:, 0])) == one.episodes  # no two episodes start the same
    assert one.attributes['policy_sha256'] == policy.digest


def test_recorded_actions_are_the_graphs(tmp_path, env):
    """A recording with another policy's actions looks fine and teaches nonsense."""
    data = roll_out(env, OnnxPolicy(graph(tmp_path / 'p.onnx', noise=False), env),
                    transitions=40, seed=0)
    expected = [0.9, 1.8] * np.tanh(0.3 * data.observations.sum(1, keepdims=True))
    np.testing.assert_allclose(data.actions, expected, atol=1e-5)


@pytest.mark.filterwarnings('ignore:.*share an object')
def test_environment_that_writes_into_its_observation_is_recorded_right(tmp_path):
    env = gymnasium.make('spaars/Walk-v0', shared=True)
    data = roll_out(env, OnnxPolicy(graph(tmp_path / 'p.onnx'), env), transitions=40, seed=0)
    np.testing.assert_allclose(data.next_observations - data.observations, data.actions, atol=1e-5)


@pytest.mark.parametrize('name', ['CostWalk', 'SeldomWalk'])
def test_cost_of_the_environment_is_recorded(tmp_path, name):
    """Some environments say what a step cost only where it cost something."""
    env = gymnasium.make(f'spaars/{name}-v0')
    data = roll_out(env, OnnxPolicy(graph(tmp_path / 'p.onnx'), env), transitions=50, seed=0)
    np.testing.assert_array_equal(data.costs[:, 0], data.next_observations[:, 0] > 0)


def test_what_the_arms_filter_let_through_is_recorded(tmp_path):
    class Told(gymnasium.Wrapper):
        executed = []

        def step(self, action):
            result = self.env.step(action)
            self.executed.append(result[4]['executed'])
            return result
    env = Told(make_environment(REACH))
    policy = OnnxPolicy(graph(tmp_path / 'p.onnx', n=env.observation_space.shape[0], d=7,
                              span=0.9), env)
    data = roll_out(env, policy, transitions=1, seed=0)
    np.testing.assert_allclose(data.actions, env.executed, atol=1e-6)
    assert data.costs.shape == (len(data), 1)


@pytest.mark.parametrize(('name', 'said'), [
    ('SpaarsReach-v0', 'none.onnx: No such file'), ('SpaarsStaged-v0', 'none.onnx: No such file'),
    ('SpaarsKitchen-v0', 'none.onnx: No such file|needs the extra kitchen')])
def test_collect_knows_the_environments_that_train_knows(tmp_path, name, said):
    done = subprocess.run(
        [sys.executable, '-m', 'spaars_ros.cli', 'collect', '--env', name, '--policy',
         str(tmp_path / 'none.onnx'), str(tmp_path / 'o.npz')],
        capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert re.search(said, done.stderr), done.stderr


@pytest.mark.parametrize(('options', 'said'), [
    ({'n': 3}, r"observation has shape \['batch', 3\], the environment wants \(batch, 2\)"),
    ({'d': 3}, r"noise has shape \['batch', 3\]"),
    ({'d': 3, 'noise': False}, r"action has shape \['batch', 3\]"),
    ({'output': 'mean_action'}, r"outputs \['mean_action'\]; expected"),
    ({'dtype': np.float64}, r'observation is tensor\(double\), expected float32'),
    ({'bias': np.nan}, r'action at 0 is nan, outside \[-1, 1\]')])
def test_graph_that_is_no_policy_of_the_environment_is_refused(tmp_path, env, options, said):
    with pytest.raises(RolloutError, match=f'p.onnx: .*{said}'):
        OnnxPolicy(graph(tmp_path / 'p.onnx', **options), env)


def test_file_that_is_no_graph_is_refused(tmp_path, env):
    (tmp_path / 'p.onnx').write_bytes(b'not a graph')
    with pytest.raises(RolloutError, match='not a valid ONNX graph'):
        OnnxPolicy(tmp_path / 'p.onnx', env)


def test_actions_out_of_bounds_end_the_rollout(tmp_path):
    """Pendulum takes 2 N m; a policy of another robot asks for more and would be clipped."""
    env = gymnasium.wrappers.RescaleAction(gymnasium.make('Pendulum-v1'),
                                             np.float32(-0.5), np.float32(0.5))
    policy = OnnxPolicy(graph(tmp_path / 'p.onnx', n=3, d=1), env)
    with pytest.raises(RolloutError, match=r'action at 0 is .*, outside \[-0.5, 0.5\]'):
        roll_out(env, policy, transitions=100, seed=0)


def spaars(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.mark.parametrize('name', ['out.npz', 'out.h5'])
def test_collect_writes_what_load_reads(tmp_path, env, name):
    policy = graph(tmp_path / 'p.onnx')
    done = spaars('collect', '--env', 'spaars/Walk-v0', '--policy', policy, '--transitions', 100,
                  '--seed', 2, tmp_path / name)
    assert done.exit_code == 0, done.output
    data = loaded(tmp_path / name, env)
    assert len(data) >= 100
    assert data.attributes['source'] == (
        'spaars collect --env spaars/Walk-v0 --policy p.onnx --transitions 100 --seed 2 ' + name)
    assert float(data.attributes['return_mean']) == pytest.approx(data.returns.mean(), rel=1e-4)
    assert {'env', 'policy_sha256', 'gymnasium', 'episodes'} <= set(data.attributes)


@pytest.mark.parametrize(('env_id', 'file', 'expert'), [
    ('Hopper-v5', 'hopper-medium', 3234.3),
    ('Walker2d-v5', 'walker2d-medium', 4592.3), ('HalfCheetah-v5', 'halfcheetah-medium', 12135.0)])
def test_the_policies_that_ship_are_mediocre(env_id, file, expert):
    """Benchmarks make their sets of them: about a third of expert return (data.md)."""
    policy = Path(spaars_ros.__file__).parents[1] / 'benchmarks' / 'policies' / f'{file}.onnx'
    env = gymnasium.make(env_id)
    data = roll_out(env, OnnxPolicy(policy, env), transitions=4000, seed=0)
    assert 0.25 * expert < data.returns.mean() < 0.5 * expert


@pytest.mark.parametrize(('args', 'said'), [
    (['--env', 'spaars/Walk-v0', 'o.npz'], '--env needs --policy'),
    (['--policy', 'p.onnx', 'o.h5'], '--policy has no meaning without --env'),
    (['--env', 'spaars/Walk-v0', '--policy', 'p.onnx', '--episodes', '3', 'o.npz'],
     '--episodes has no meaning with --env'),
    (['--env', 'Nope-v0', '--policy', 'p.onnx', 'o.npz'], 'environment Nope-v0'),
    (['--env', 'spaars/Walk-v0', '--policy', 'p.onnx', 'o.txt'], 'unknown format'),
    (['--env', 'spaars/Walk-v0', '--policy', 'p.onnx', 'o.npz'], 'p.onnx: No such file')])
def test_collect_says_in_one_line_what_is_wrong(tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    done = spaars('collect', *args)
    assert done.exit_code == 1
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
