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

"""`spaars bench manipulation`: its demonstrations, its tasks, and what it makes of the rows."""

import json

import gymnasium
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.manipulation import interquartile
from benchmarks.manipulation import summary
from benchmarks.metaworld_tasks import demonstrations
from benchmarks.metaworld_tasks import env_id
from benchmarks.metaworld_tasks import package
from benchmarks.peer_environments import PeerError
from spaars_ros.cli import app
from spaars_ros.data.transitions import load_transitions


@pytest.fixture
def metaworld():
    try:
        return package()
    except PeerError as error:
        pytest.skip(str(error))


def row(task, seed, successes, method='spaars'):
    return {'task': task, 'method': method, 'seed': seed,
            'curve': [{'success': value} for value in successes]}


def test_what_was_lost_counts_against_the_pretrained_policy_and_against_the_best():
    found, = summary([row('a', 0, [0.5, 0.3, 0.9, 0.8])])
    assert found['below'][0] == pytest.approx(20.0)
    assert found['lost'][0] == pytest.approx(10.0)
    assert found['area'][0] == pytest.approx(62.5)


def test_all_tasks_have_a_line_of_their_own():
    rows = [row(task, seed, [0.0, value]) for task, value in (('a', 1.0), ('b', 0.0))
            for seed in range(4)]
    found = {each['task']: each for each in summary(rows)}
    assert found['a']['final'] == [100.0, 100.0, 100.0]
    assert found['all']['final'] == [50.0, 50.0, 50.0]  # stratified: each resample has both


def test_one_run_that_failed_does_not_move_an_interquartile_mean_of_ten():
    values = np.array([90.0] * 9 + [0.0])
    assert interquartile([values])[0] == 90.0


def test_the_tables_of_the_page_have_a_line_a_method_and_every_evaluation(tmp_path, monkeypatch):
    from benchmarks import manipulation
    from benchmarks.tables import write_table
    monkeypatch.setattr(manipulation, 'write_table', lambda *arguments, **more: write_table(
        *arguments, **more, folder=tmp_path))
    rows = [row('a', seed, [0.5, 0.3 + 0.1 * seed]) for seed in range(2)]
    for each in rows:
        for steps, point in zip((0, 2510), each['curve']):
            point.update(steps=steps, success_training=0.75 if steps else None)
    manipulation.tables(rows, 'spaars bench manipulation')
    table, curves = (json.loads((tmp_path / f'{name}.json').read_text())
                     for name in ('manipulation', 'manipulation-curves'))
    found = dict(zip(table['columns'], table['rows'][0]))
    assert found['training episodes'] == '75 (75 to 75)' and found['seeds'] == 2
    assert curves['columns'][2:] == ['0 steps', '2,500 steps']
    assert curves['rows'] == [['a', 'spaars', '50, 50', '30, 40']]
    assert not (tmp_path / 'manipulation-shares.json').exists()  # nobody has a floor


def test_a_method_that_does_not_learn_online_has_one_column_and_shares_are_of_who_has_them(
        tmp_path, monkeypatch):
    from benchmarks import manipulation
    from benchmarks.tables import write_table
    monkeypatch.setattr(manipulation, 'write_table', lambda *arguments, **more: write_table(
        *arguments, **more, folder=tmp_path))
    rows = [row('a', 0, [0.5, 0.3]), row('a', 0, [0.4], method='bc')]
    for each in rows:
        for steps, point in zip((0, 2510), each['curve']):
            point.update(steps=steps, success_training=0.75 if steps else None)
    rows[0]['curve'][1].update(share_pretrained=0.2, share_latent=0.7, share_raw=0.1)
    manipulation.tables(rows, 'spaars bench manipulation')
    curves, shares = (json.loads((tmp_path / f'manipulation-{name}.json').read_text())['rows']
                      for name in ('curves', 'shares'))
    assert curves == [['a', 'spaars', '50', '30'], ['a', 'bc', '40', '-']]
    assert shares == [['a', 'spaars', '-/-/-', '20/70/10']]


def test_rows_of_a_bench_that_was_interrupted_are_found_and_nothing_is_run(tmp_path, monkeypatch):
    from benchmarks import learning
    data = tmp_path / 'data.npz'
    data.write_bytes(b'')
    options = {'tasks': {'Hopper-v5': str(data)}, 'methods': ['bc'], 'steps': 10, 'jobs': 1,
               'out': tmp_path, 'finished': True, 'training': 'manipulation'}
    with pytest.raises(ValueError, match='no run of these settings and this code is finished'):
        learning.run(seeds=[0, 1], **options)
    done = []
    monkeypatch.setattr(learning.Job, 'name', property(lambda job: f'row{job.seed}'))
    monkeypatch.setattr(learning.Workers, 'each', lambda self, function, jobs: (
        done.append(job.seed) or (job, function(job)) for job in jobs))
    (tmp_path / 'row1.json').write_text(json.dumps({
        'method': 'bc', 'task': 'Hopper-v5', 'seed': 1, 'score': 1.0, 'score_offline': 1.0,
        'unit': 'return', 'seconds': 1.0, 'curve': []}))
    assert [each['seed'] for each in learning.run(seeds=[0, 1], **options)] == done == [1]


def test_without_meta_world_the_command_says_how_to_get_it(tmp_path, monkeypatch):
    from benchmarks import metaworld_tasks

    def missing():
        raise PeerError('Meta-World: no module; install it with: spaars bench peers --only '
                        'metaworld')
    monkeypatch.setattr(metaworld_tasks, 'package', missing)
    result = CliRunner().invoke(app, ['bench', 'manipulation', '--out', str(tmp_path)])
    assert result.exit_code == 1
    assert 'bench peers --only metaworld' in result.output


def test_demonstrations_are_of_the_seed_alone_and_fit_their_environment(tmp_path, metaworld):
    for name in ('one', 'two'):
        demonstrations('door-open', tmp_path / f'{name}.npz', episodes=2)
    one, two = (load_transitions(tmp_path / f'{name}.npz') for name in ('one', 'two'))
    np.testing.assert_array_equal(one.actions, two.actions)
    assert one.episodes == 2 and set(one.rewards.tolist()) <= {-1.0, 0.0}
    env = gymnasium.make(env_id('door-open'))
    observation, _ = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    np.testing.assert_array_equal(observation, again)
    assert env.observation_space.shape == one.observations.shape[1:]


def test_a_task_that_meta_world_has_not_is_named(tmp_path, metaworld):
    with pytest.raises(ValueError, match="task 'peg'"):
        demonstrations('peg', tmp_path / 'peg.npz')
