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

"""The report: records scored again, and a page that is whole whatever the run left."""

from html.parser import HTMLParser
import json
import math
import os
from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import StepSchema
from spaars_ros.robot.config import Box
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import Sphere
from spaars_ros.run.plots import moving_mean
from spaars_ros.run.report import episodes_from_steps
from spaars_ros.run.report import paths_from_steps
from spaars_ros.run.report import write_report
from spaars_ros.sim.env import ArmEnv
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import World
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task

pytestmark = pytest.mark.timeout(120)

PLOTS = {'success', 'tip_error', 'return', 'cost', 'multiplier', 'gate', 'paths_before',
         'paths_after'}


def reach(robot: Robot | None = None) -> Task:
    """Return the task that ships, for a robot."""
    return make_task(robot or load_robot('panda'), load_task())


def driven(episodes: int, horizon: int) -> tuple[ArmEnv, StepSchema, Array, list[dict[str, Any]]]:
    """Drive the simulated arm; return its records and what the environment said itself."""
    settings = load_task('reach').model_copy(update={'horizon': horizon, 'hold': 3})
    env = ArmEnv(load_robot('panda'), settings)
    schema = StepSchema(observation=env.task.observation_dim, latent=4, action=7)
    rng = np.random.default_rng(3)
    rows, truth = [], []
    for episode in range(episodes):
        observation, info = env.reset(seed=episode)
        if episode == 1:  # straight at the target: this one succeeds
            env.goal = env.arm.kinematics.tip_and_jacobian(env.arm.state().position)[0] + 0.004
            observation = env.task.observe(World(env.arm.state(), env.arm.kinematics), env.goal)
            env._observations = [observation]
        total = {'return': 0.0, 'cost': 0.0, 'raw': 0}
        common = {'episode': episode, 'bundle_version': 7 + episode}
        for index in range(horizon):
            action = rng.uniform(-1, 1, 7) * (episode != 1)
            raw = index % 4 == 0
            after, reward, _, done, told = env.step(action)
            rows.append(schema.row(
                sequence=len(rows), index=index, observation=observation, effort=info['effort'],
                mode=Mode.RAW if raw else Mode.LATENT, action=told['executed'],
                intervention=told['intervention'], **common))
            observation, info = after, told
            total['return'] += reward
            total['cost'] += float(told['costs'][0])
            total['raw'] += raw
        rows.append(schema.row(sequence=len(rows), index=horizon, observation=observation,
                               effort=info['effort'], flag=Flag.TRUNCATED, mode=Mode.NONE,
                               **common))
        truth.append({**total, 'success': told['success'], 'done': done})
    return env, schema, np.stack(rows), truth


def test_scored_again_an_episode_has_what_the_environment_gave() -> None:
    env, schema, rows, truth = driven(episodes=3, horizon=40)
    episodes = episodes_from_steps(schema, rows, env.task, {2: 0.5})
    assert [e['episode'] for e in episodes] == [0, 1, 2]
    for episode, said in zip(episodes, truth, strict=True):
        assert episode['return'] == pytest.approx(said['return'])
        assert episode['cost'] == said['cost']
        assert episode['success'] == said['success']
        assert episode['raw_share'] == said['raw'] / 40
        assert episode['limit'] == 5.0
        assert episode['ended'] == 'truncated'
        assert episode['steps'] == 40
    assert [e['success'] for e in episodes] == [False, True, False]
    assert episodes[2]['multiplier'] == 0.5 and math.isnan(episodes[0]['multiplier'])
    assert [e['bundle_version'] for e in episodes] == [7, 8, 9]


def test_records_sent_twice_and_out_of_order_are_scored_once() -> None:
    env, schema, rows, _ = driven(episodes=2, horizon=20)
    mixed = np.concatenate([rows[10:], rows[:30]])
    assert repr(episodes_from_steps(schema, mixed, env.task)) == \
        repr(episodes_from_steps(schema, rows, env.task))


def test_paths_hold_tip_target_and_raw_states() -> None:
    env, schema, rows, _ = driven(episodes=2, horizon=20)
    paths = paths_from_steps(schema, rows, env.task)
    assert [p['tip'].shape for p in paths] == [(21, 3), (21, 3)]
    np.testing.assert_allclose(paths[1]['target'], env.goal)
    np.testing.assert_allclose(paths[1]['tip'][-1], env.arm.tip(), atol=1e-6)
    assert paths[0]['raw'].sum() == 5


def test_moving_mean_leaves_out_what_is_not_known() -> None:
    got = moving_mean([1.0, 3.0, float('nan'), 5.0, 7.0], window=2)
    np.testing.assert_array_equal(got, [1.0, 2.0, 3.0, 5.0, 6.0])
    assert np.isnan(moving_mean([float('nan')])).all()


class _Page(HTMLParser):
    """Collects what a page would load and checks that its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.text = ''

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or '' for name, value in attrs
                       if name in ('src', 'href', 'xlink:href', 'data')]
        if tag not in ('meta', 'br', 'img', 'link'):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Path) -> tuple[str, _Page]:
    """Read the page, check that it is whole and asks nobody for anything."""
    text = (folder / 'report.html').read_text()
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert [load for load in page.loads if not load.startswith(('#', 'data:'))] == []
    assert not re.findall(r'url\((?!#|data:)', text)
    assert '@import' not in text and '<script' not in text
    identities = re.findall(r'\bid="([^"]+)"', text)
    assert len(identities) == len(set(identities))
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    assert used <= set(identities)
    return text, page


def pngs(folder: Path) -> set[str]:
    """Return the names of the plots, each a whole PNG."""
    for file in (folder / 'plots').iterdir():
        data = file.read_bytes()
        assert data.startswith(b'\x89PNG\r\n') and b'IEND' in data[-12:] and len(data) > 3000
    return {file.stem for file in (folder / 'plots').iterdir()}


def test_report_of_a_run_shows_every_plot_and_number(tmp_path: Path) -> None:
    env, schema, rows, _ = driven(episodes=4, horizon=30)
    episodes = episodes_from_steps(schema, rows, env.task, {i: 0.1 * i for i in range(4)})
    paths = paths_from_steps(schema, rows, env.task)
    summary = {'algorithm': 'spaars', 'seed': 3, 'success_before': 0.25, 'success_after': 0.94,
               'metrics': {'tip_error': {'before': 0.0217, 'after': np.float32(0.0064)}},
               'cost_last_fifth': 6.5, 'cost_limit': 5.0, 'online_steps': np.int64(15000),
               'lost_ticks': 0, 'wall_seconds': 500.0, 'nothing': float('nan')}
    page_path = write_report(tmp_path / 'run', summary, episodes, paths[:2], paths[2:], env.task)
    assert page_path == tmp_path / 'run' / 'report.html'
    assert pngs(tmp_path / 'run') == PLOTS
    back = json.loads((tmp_path / 'run' / 'summary.json').read_text())
    assert back['online_steps'] == 15000 and back['nothing'] is None
    text, page = page_of(tmp_path / 'run')
    assert text.count('<svg') == len(PLOTS)
    for words in ('25 → 94 %', '21.7 → 6.4 mm', '6.50 of 5', '15 000', '8 min 20 s',
                  'panda, reach: spaars fine-tuning', 'margin of 20 mm', 'post', 'limit 5.0'):
        assert words in page.text, words
    assert '<b class=over>6.50' in text


def test_report_of_a_run_without_a_finished_episode_is_whole(tmp_path: Path) -> None:
    write_report(tmp_path, {'algorithm': 'spaars'}, [], [], [], reach())
    assert pngs(tmp_path) == PLOTS
    _, page = page_of(tmp_path)
    assert 'no finished episode' in page.text and 'no path recorded' in page.text


def test_report_of_one_episode_without_known_values_is_whole(tmp_path: Path) -> None:
    episode = {'episode': 0, 'return': float('nan'), 'success': None, 'cost': 0.0,
               'limit': float('inf'), 'multiplier': None, 'raw_share': 0.0,
               'metrics': {'tip_error': float('nan')}}
    write_report(tmp_path, {}, [episode], [], [], reach())
    assert pngs(tmp_path) == PLOTS
    page_of(tmp_path)


def test_report_draws_every_kind_of_zone(tmp_path: Path) -> None:
    robot: Robot = load_robot('panda').model_copy(update={'keep_out': [
        Sphere(shape='sphere', name='ball', centre=(0.4, 0.1, 0.4), radius=0.1),
        Box(shape='box', name='crate', centre=(0.6, 0.0, 0.1), size=(0.2, 0.3, 0.2))]})
    write_report(tmp_path, {}, [], [], [], reach(robot))
    _, page = page_of(tmp_path)
    assert 'ball' in page.text and 'crate' in page.text


def test_a_name_from_a_file_cannot_inject_markup(tmp_path: Path) -> None:
    robot = load_robot('panda').model_copy(update={'name': '<script>alert(1)</script>'})
    write_report(tmp_path, {'algorithm': '<img src=x>'}, [], [], [], reach(robot))
    text, _ = page_of(tmp_path)
    assert '&lt;script&gt;' in text


def test_an_interrupted_write_leaves_the_old_report(tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    robot = load_robot('panda')
    write_report(tmp_path, {'seed': 1}, [], [], [], reach(robot))
    before = (tmp_path / 'report.html').read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        write_report(tmp_path, {'seed': 2}, [], [], [], reach(robot))
    monkeypatch.undo()
    assert (tmp_path / 'report.html').read_bytes() == before
    assert json.loads((tmp_path / 'summary.json').read_text())['seed'] == 1
    assert not list(tmp_path.glob('.*'))
