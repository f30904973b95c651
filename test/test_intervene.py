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

"""A person takes over in a run of all nodes, and says what episodes came to."""

import os
from pathlib import Path
import time

from domains import DOMAINS
import numpy as np
import pytest
from small_run import prepare
from small_run import until
from terminal import PATIENT
from terminal import Terminal

from spaars_ros.data.demonstrations import run_steps
from spaars_ros.data.labels import read_labels
from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome

pytestmark = pytest.mark.timeout(200)


def test_a_person_takes_over_and_the_run_learns_and_reports_it(tmp_path: Path) -> None:
    small, domain, out = prepare(tmp_path / 'small'), str(next(DOMAINS)), tmp_path / 'run'
    env = {**os.environ, 'ROS_DOMAIN_ID': domain, 'PYTHONUNBUFFERED': '1',
           'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    params = tmp_path / 'params.yaml'
    params.write_text(PATIENT)
    run = Terminal(
        'finetune', '--out', str(out), '--task', str(small / 'task.yaml'), '--training',
        str(small / 'training.yaml'), '--bundle', str(small / 'initial.spaars'), '--episodes', '9',
        '--real-time-factor', '1', '--evaluation-episodes', '1', '--plain', '--params-file',
        str(params), env=env,
        log=tmp_path / 'run.log')
    teleop = Terminal('teleop', '--domain', domain, env=env, log=tmp_path / 'teleop.log')
    try:
        until(lambda: 'episode 1/9' in run.text, 120.0, run.text)
        labels = [Terminal('label', *words, '--domain', domain, env=env,
                           log=tmp_path / f'{words[0]}.log')
                  for words in (('discard', '--episode', '0'), ('success', '--episode', '99'))]
        teleop.type('a', 1.2)
        time.sleep(0.8)
        teleop.type('d', 1.0)
        assert labels[0].process.wait(40) == 0, labels[0].text
        assert 'episode 0 is discard' in labels[0].text
        assert labels[1].process.wait(40) == 1 and 'was not labelled' in labels[1].text
        assert run.process.wait(120) == 0, run.text
    finally:
        teleop.type('q')
        assert teleop.process.wait(30) == 0, teleop.text
        run.end()
    schema, rows = run_steps(out)
    human = schema.get(rows, 'mode') == Mode.HUMAN
    assert human.sum() > 15
    commands = rows[human][:, schema.fields['action']]
    assert np.abs(commands).max() > 0.02
    # What was said after the end is in the folder, and in the recording.
    assert read_labels(out) == {0: Outcome.DISCARDED}
    recorded = read_steps(out / 'transitions.mcap')[1]
    first = recorded[schema.get(recorded, 'episode') == 0]
    assert schema.get(first, 'outcome')[-1] == Outcome.DISCARDED
    assert 'episode 0 is discarded now' in (out / 'log' / 'learner.log').read_text()
    assert 'Takeovers by a person' in (out / 'report.html').read_text()
    assert (out / 'plots' / 'takeovers.png').exists()
