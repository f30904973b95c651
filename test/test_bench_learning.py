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

"""bench learner and bench learning: what they count, what they compare, what they leave."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import flops
from benchmarks import learner
from benchmarks import learning
from benchmarks import learning_report
from benchmarks import replay as replay_bench
from benchmarks import wall_clock
from benchmarks.peer_environments import FOLDER
from benchmarks.peer_environments import PeerError
from benchmarks.peer_environments import python_of
from spaars_ros.commands.common import seeds_of
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay

TINY = {'cvae_steps': 20, 'iql_steps': 20, 'align_steps': 10, 'width': 16, 'heads': 2,
        'batch': 16, 'utd': 0.2}
PEERS = Path(os.environ.get('SPAARS_PEERS', FOLDER))


# Arithmetic


def test_hand_counted_flop_are_those_that_torch_counts():
    """Done with plain layers: every product that a gradient needs, no other."""
    batch, n, d, width = 32, 11, 3, 64

    def mlp(inputs, outputs):
        return torch.nn.Sequential(
            torch.nn.Linear(inputs, width), torch.nn.ReLU(), torch.nn.Linear(width, width),
            torch.nn.ReLU(), torch.nn.Linear(width, outputs))

    actor = mlp(n, 2 * d)
    critics, targets = ([mlp(n + d, 1) for _ in range(2)] for _ in range(2))
    critics, targets = ([mlp(n + d, 1) for _ in range(2)] for _ in range(2))
    o, both = torch.randn(batch, n), torch.randn(batch, n + d)
    with FlopCounterMode(display=False) as counter:
        with torch.no_grad():
            actor(o)
            [target(both) for target in targets]
        sum(critic(both).sum() for critic in critics).backward()
        for critic in critics:
            critic.requires_grad_(False)
        action = actor(o).chunk(2, -1)[0]
        sum(critic(torch.cat([o, action], -1)).sum() for critic in critics).backward()
    assert flops.sac_update(batch, n, d, width, 2) == counter.get_total_flops()

    policy, value = mlp(n, d), mlp(n, 1)
    critics = [mlp(n + d, 1) for _ in range(2)]
    with FlopCounterMode(display=False) as counter:
        with torch.no_grad():
            [target(both) for target in targets]
            value(o)  # at s'
        sum(critic(both).sum() for critic in critics).backward()
        (value(o).sum() + policy(o).sum()).backward()
    assert flops.iql_update(batch, n, d, width, 2) == counter.get_total_flops()


@pytest.mark.parametrize('normalise', [True, False])
@pytest.mark.parametrize('values', [1, 2, 6])
def test_the_written_out_gradient_is_autograds(values, normalise):
    torch.manual_seed(0)
    critic = EnsembleCritic(5, 2, values, 16, 3, depth=3).double()
    critic.normalise = normalise
    o = torch.randn(8, 5, dtype=torch.float64)
    a = torch.randn(8, 2, dtype=torch.float64, requires_grad=True)
    x = torch.matmul(torch.cat([o, a], -1), critic.weights[0]) + critic.biases[0]
    for weight, bias in zip(critic.weights[1:], critic.biases[1:]):
        if normalise:
            x = torch.nn.functional.layer_norm(x, x.shape[-1:])
        x = torch.baddbmm(bias, torch.relu(x), weight)
    weights = torch.randn_like(x)
    wanted = [a, *critic.parameters()]
    expected = torch.autograd.grad((x * weights).sum(), wanted)
    result = critic(o, a)
    got = torch.autograd.grad((result * weights).sum(), wanted)
    torch.testing.assert_close(result, x)
    for one, other in zip(got, expected):
        torch.testing.assert_close(one, other)


def test_a_frozen_critic_still_passes_the_gradient_to_the_action():
    critic = EnsembleCritic(5, 2, 1, 16, 3).requires_grad_(False)
    a = torch.randn(8, 2, requires_grad=True)
    critic(torch.randn(8, 5), a).sum().backward()
    assert a.grad.abs().sum() > 0.0 and all(p.grad is None for p in critic.parameters())


# Replay


def made_replay(capacity):
    return Replay(capacity, None, Normaliser(np.zeros(11), np.ones(11)), action=3, constraints=0,
                  gamma=0.99, n_step=1, observation=11)


def test_replay_memory_is_within_a_tenth_of_the_bare_arrays():
    size = 100_000
    assert made_replay(size).nbytes <= 1.10 * replay_bench.raw_bytes(size, 11, 3)


def test_appends_never_move_the_arrays():
    """A copy of a million transitions would stall the learner; also past the capacity."""
    replay = made_replay(5000)
    before = {name: column.ctypes.data for name, column in replay._columns.items()}
    for _ in range(13):
        replay.add_episode(np.zeros((1001, 11)), np.zeros((1000, 3)), False,
                           rewards=np.zeros(1000))
    assert replay.size == 5000
    assert before == {name: column.ctypes.data for name, column in replay._columns.items()}


def test_replay_bench_measures_every_size():
    rows = replay_bench.run(sizes=(2000, 20_000), samples=20)
    assert [row['transitions'] for row in rows] == [2000, 20_000]
    assert all(row['memory_ratio'] < 1.10 and row['sample_us'] > 0 for row in rows)


# Against peers


def test_a_missing_peer_is_none_and_its_note_says_how_to_make_it(tmp_path):
    said = []
    result = learner.run(compiled=False, updates=2, rounds=2, width=16, batch=16, peers=tmp_path,
                         say=said.append)
    assert result['updates_per_s'] > 0 and result['iql_updates_per_s'] > 0
    assert all(result[f'{peer}_updates_per_s'] is None for peer in ('sbx', 'sb3', 'd3rlpy'))
    assert result['sbx_ratio'] is None
    assert result['ratio'] is None and result['cpu_ratio'] is None
    assert 'spaars bench peers' in result['notes'][0] and result['notes'][0] in said
    assert 0 < result['matmul_fraction'] < 1.5


def fake_environment(folder, name, script):
    python = folder / name / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\n{script}\n')
    python.chmod(0o755)
    (folder / name / '.made').touch()


def test_a_peer_that_fails_is_named_with_its_last_words(tmp_path):
    fake_environment(tmp_path, 'sb3', 'echo "ImportError: no torch" >&2; exit 1')
    with pytest.raises(PeerError, match='sb3: ImportError: no torch'):
        learner.run(compiled=False, updates=1, rounds=1, width=16, batch=16, peers=tmp_path)


def test_an_environment_cut_short_while_it_was_made_is_none(tmp_path):
    fake_environment(tmp_path, 'sb3', 'exit 0')
    assert python_of('sb3', tmp_path) is not None
    (tmp_path / 'sb3' / '.made').unlink()
    assert python_of('sb3', tmp_path) is None


@pytest.mark.timeout(120)
@pytest.mark.skipif(any(python_of(peer, PEERS) is None for peer in learner.PEERS),
                    reason='no peers: spaars bench peers makes them (SPAARS_PEERS: their folder)')
def test_peers_answer_in_turns():
    result = learner.run(compiled=False, updates=3, rounds=2, width=32, batch=32, peers=PEERS)
    assert result['sb3_updates_per_s'] > 0 and result['d3rlpy_updates_per_s'] > 0
    assert {facts['peer'] for facts in result['peers']} == {'sbx', 'stable-baselines3', 'd3rlpy'}
    assert all(facts.get('threads', 1) == 1 for facts in result['peers'])
    assert result['ratio'] > 0 and result['iql_ratio'] > 0


# Time to a score


@pytest.mark.timeout(150)
def test_our_clock_counts_pretraining_and_stops_at_the_reference(tmp_path):
    options = {'tasks': {'reach': ''}, 'seeds': [0], 'jobs': 1, 'every': 100, 'peers': tmp_path,
               'training': 'smoke', 'budget': 1000.0, 'references': {'reach': -1000.0}}
    result = wall_clock.run(out=tmp_path, **options)
    ours, sbx, sb3, _ = result['rows']
    # Any policy has this return, so the first evaluation, before any step, makes it.
    assert ours['steps'] == 0 and ours['seconds'] > 0.0 and len(ours['evaluations']) == 1
    assert sbx['seconds'] is None and sb3['seconds'] is None
    assert 'spaars bench peers' in sb3['note']
    assert result['summary'][0]['spaars_seconds'] == ours['seconds']
    assert result['summary'][0]['part_of_sb3'] is None
    again = wall_clock.run(out=tmp_path, **options)
    assert again['rows'][0] == ours
    held = wall_clock.run(out=tmp_path, methods=('spaars',), hold=3, **options)['rows'][0]
    assert len(held['evaluations']) == 3 and held['seconds'] > ours['seconds']
    rows = sorted(tmp_path.glob('*.json'))
    changed = wall_clock.run(out=tmp_path, overrides={'width': 16}, **options)['rows']
    returns = [row['evaluations'][0]['return_mean'] for row in (ours, changed[0])]
    assert returns[0] != returns[1]
    assert len(sorted(tmp_path.glob('*.json'))) == len(rows) + 1
    with pytest.raises(ValueError, match="unknown key 'breadth'"):
        wall_clock.run(out=tmp_path, methods=('spaars',), overrides={'breadth': 16}, **options)


@pytest.mark.timeout(100)
def test_a_budget_that_ends_offline_counts_as_not_reached(tmp_path):
    result = wall_clock.run(tasks={'reach': ''}, seeds=[0], jobs=1, every=100, peers=tmp_path,
                            budget=0.5, out=tmp_path, methods=('spaars',))
    row = result['rows'][0]
    assert row['seconds'] is None and row['budget'] == 0.5 and row['reference'] == -40.0


def test_a_task_without_reference_or_data_is_an_error(tmp_path):
    options = {'budget': 1.0, 'seeds': [0], 'jobs': 1, 'out': tmp_path, 'peers': tmp_path}
    with pytest.raises(ValueError, match='Swimmer-v5: no reference return'):
        wall_clock.run(tasks={'Swimmer-v5': ''}, **options)
    with pytest.raises(ValueError, match="Hopper-v5: no data file 'none.npz'"):
        wall_clock.run(tasks={'Hopper-v5': 'none.npz'}, **options)
    with pytest.raises(ValueError, match="method 'sb2': none of"):
        wall_clock.run(tasks={'reach': ''}, methods=('sb2',), **options)


# The table


def curve(*scores):
    return [{'steps': 100 * number, 'score': score} for number, score in enumerate(scores)]


def test_a_plotted_curve_has_the_last_evaluation_of_every_seed():
    longer = {'curve': [{'steps': 0, 'score': 10.0}, {'steps': 104, 'score': 90.0}]}
    fallen = {'curve': [{'steps': 0, 'score': 10.0}, {'steps': 90, 'score': 90.0},
                        {'steps': 100, 'score': 0.0}]}
    for members in ([longer, fallen], [fallen, longer]):
        steps, mean, _ = learning_report.band(members)
        assert steps[-1] == 100 and mean[-1] == pytest.approx((10.0 + 80.0 * 100 / 104) / 2)
        assert (np.diff(steps) > 0).all()


@pytest.mark.parametrize(('scores', 'steps'), [
    ((1, 5, 6, 7), 100), ((6, 7, 8, 9), 0), ((1, 2, 3, 4), None),
    ((9, 1, 1, 6), 300),  # a lucky evaluation does not hold
    ((1, 6, 4, 8), 100),  # an unlucky one does not undo it
])
def test_steps_to_reference_is_where_the_curve_reaches_and_holds(scores, steps):
    assert learning.steps_to(curve(*scores), 5.0) == steps


def test_reference_is_the_mean_of_fine_tuned_iql_over_seeds():
    rows = [{'method': method, 'score': score, 'curve': curve(0, score), 'reference': None,
             'steps_to_reference': None} for method, score in
            (('iql', 4.0), ('iql', 6.0), ('spaars', 5.5), ('bc', 1.0))]
    learning.compare_with(rows)
    assert [row['reference'] for row in rows] == [5.0] * 4
    assert [row['steps_to_reference'] for row in rows] == [None, 100, 100, None]


def test_interval_is_students_over_seeds():
    mean, half = learning_report.interval([1.0, 2.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert np.isnan(learning_report.interval([1.0])[1])


@pytest.mark.parametrize('method', ['spars', 'spaars:k=', 'spaars:k=0', 'xspaars:k=2', ''])
def test_an_unknown_method_is_named(method):
    with pytest.raises(ValueError, match=f'method {method!r}: none of bc, iql'):
        learning.changes_of(method)


def test_every_method_changes_the_training_file_in_its_own_way():
    from spaars_ros.training_file import load_training
    made = [load_training('manipulation', **{'plateau': True, **learning.changes_of(method)}
                          ).model_dump_json()
            for method in [*learning.METHODS, 'spaars:k=2']]
    assert len(set(made)) == len(made)


def test_data_that_are_missing_fail_before_anything_runs(tmp_path):
    options = {'seeds': [0], 'steps': 10, 'jobs': 1, 'out': tmp_path}
    with pytest.raises(ValueError, match='bc starts from data: give --tasks Hopper-v5=FILE'):
        learning.run(tasks={'Hopper-v5': ''}, methods=['sac', 'bc'], **options)
    with pytest.raises(ValueError, match='none.npz: no such file'):
        learning.run(tasks={'Hopper-v5': 'none.npz'}, methods=['bc'], **options)


def test_a_seed_or_method_that_is_there_twice_is_refused(tmp_path):
    options = {'tasks': {'reach': ''}, 'steps': 10, 'jobs': 2, 'out': tmp_path}
    with pytest.raises(ValueError, match=r'seeds \[0, 1, 1\]: one is there twice'):
        learning.run(methods=['bc'], seeds=[0, 1, 1], **options)
    with pytest.raises(ValueError, match=r"methods \['bc', 'bc'\], .* twice"):
        learning.run(methods=['bc', 'bc'], seeds=[0], **options)
    with pytest.raises(ValueError, match='--seeds 0,3,0: 0 is there twice'):
        seeds_of('0,3,0')
    with pytest.raises(ValueError, match='--seeds 0,-1: -1 is below 0'):
        seeds_of('0,-1')


@pytest.mark.timeout(200)
def test_a_table_is_made_once_and_read_afterwards(tmp_path):
    options = {'tasks': {'reach': ''}, 'methods': ['iql', 'spaars:k=2'], 'seeds': [0, 1],
               'steps': 200, 'jobs': 2, 'out': tmp_path, 'evaluate_every': 100,
               'evaluation_episodes': 1, 'training': 'smoke', 'overrides': TINY}
    rows = learning.run(**options)
    assert [(row['method'], row['seed']) for row in rows] == [
        ('iql', 0), ('spaars:k=2', 0), ('iql', 1), ('spaars:k=2', 1)]
    for row in rows:
        assert row['unit'] == 'return' and row['cost_limit'] == 5.0
        assert row['within_limit'] == (row['cost'] <= 5.0)
        assert [point['steps'] for point in row['curve']] == [0, 100, 200]
        assert row['score'] == row['curve'][-1]['return_mean']
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.json')}
    assert len(files) == 4 and not list((tmp_path / 'runs').iterdir())
    assert learning.run(**options) == rows
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.json')}
    # Another setting is another row.
    jobs = {learning.Job(task='reach', data='', method='iql', seed=0, steps=steps,
                         evaluate_every=100, evaluation_episodes=1, training='smoke',
                         overrides=()).name for steps in (200, 300)}
    assert len(jobs) == 2

    shown = Console(width=100, record=True, file=open(os.devnull, 'w'))
    shown.print(learning_report.table(rows))
    text = shown.export_text()
    assert 'spaars:k=2' in text and '±' in text
    learning_report.plot(rows, 'reach', tmp_path / 'reach.png')
    assert (tmp_path / 'reach.png').read_bytes().startswith(b'\x89PNG')
    json.dumps(rows, allow_nan=False)


@pytest.mark.timeout(100)
def test_a_failing_run_is_named_and_the_others_are_kept(tmp_path):
    data = tmp_path / 'bad.npz'
    np.savez(data, observations=np.zeros((4, 3), np.float32))
    with pytest.raises(ValueError, match='bc on Hopper-v5, seed 0: .*bad.npz'):
        learning.run(tasks={'reach': '', 'Hopper-v5': str(data)}, methods=['bc'], seeds=[0],
                     steps=100, jobs=1, out=tmp_path, training='smoke', overrides=TINY,
                     evaluation_episodes=1)
    assert len(list(tmp_path.glob('reach_bc_0_*.json'))) == 1
