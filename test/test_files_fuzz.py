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

"""Damaged robot, task, training and parameter files are refused in one line, and soon."""

import random
import time

from at_length import Clock
from at_length import SEED
from at_length import SLOWEST
import pytest

from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import share_directory
from spaars_ros.robot.files import make_model
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import parse
from spaars_ros.run.params_file import check_params_file
from spaars_ros.tasks.reach import ReachSettings
from spaars_ros.training_file import Training

PIECES = [
    b'.nan', b'.inf', b'-.inf', b'1e400', b'1e-320', b'null', b'~', b'yes', b'true', b'[]', b'{}',
    b'[[]]', b'"x"', b'&a [*a]', b'*a', b'!!int 3', b'-1', b'0', b'1e9', b'|\n x', b'>', b'?',
    b'\t', b'\r\n', b'\x00', b'\xff', b'\xef\xbb\xbf', b'---\n', b'...\n', b'<<: ', b'#', b"'",
    b'"', b'%YAML 1.1\n', b'9' * 30, b'0x', b': ', b', ', b'- ', b'\xe2\x80\xa8', b'"\\U0010ffff"',
    b'"\\ud800"', b'"\\0"', b'\xf0\x9f\x98\x80', b'020', b'1:20', b'1_0']
PARAMETERS = b"""
# Parameters of a run: what is damaged here, in a comment, does no harm, so that some are taken.
/**:
  ros__parameters: {use_sim_time: true}
/**/cost_monitor:
  ros__parameters:
    stop_cost: 5.0
    cost_limit: 1.0
policy_server:
  ros__parameters: {max_episode_cost: 10.0, budget: warn}
sim: {ros__parameters: {fault: {drop: 0.1}}}
"""


def damaged(data, rng):
    """Return bytes with a few places changed, replaced, repeated or left out."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        place, kind = rng.randrange(len(made)), rng.randrange(5)
        if kind == 0:
            made[place] = rng.randrange(256)
        elif kind in (1, 2):
            made[place:place + rng.choice((0, 1, 3, 6))] = rng.choice(PIECES)
        elif kind == 3:
            begin = rng.randrange(len(made))
            made[place:place] = made[begin:begin + rng.randrange(60)]
        else:
            del made[place:place + min(rng.randrange(40), len(made) - 20)]
    return bytes(made)


def read(model, data, folder):
    if model is None:
        (folder / 'f').write_bytes(data)
        return check_params_file(folder / 'f')
    document = parse(data, 'f')
    if not isinstance(document.content, dict):
        return None
    return make_model(model, document, {'source': '/f'} if model is Robot else {})


def attack(model, seed, count, folder, clock=None):
    kinds = {Robot: 'robot', ReachSettings: 'task', Training: 'training'}
    whole = [PARAMETERS] if model is None else [
        path.read_bytes() for path in sorted(
            (share_directory() / 'config' / kinds[model]).glob('*.yaml'))]
    rng, refused = random.Random(seed), 0
    clock = clock or Clock(f'files, seed {seed}', count)
    while clock.goes_on:
        number = clock.done
        clock.done += 1
        data = damaged(rng.choice(whole), rng)
        began = time.process_time()
        try:
            read(model, data, folder)
        except ConfigError as error:
            assert str(error).isprintable() and len(str(error)) < 3000, (seed, number)
            refused += 1
        except Exception as error:
            raise AssertionError(f'seed {seed}, number {number}: {data!r}') from error
        took = time.process_time() - began
        assert took < SLOWEST, (seed, number)
        clock.slowest = max(clock.slowest, took)
    # What is still right is taken: the test would hold nothing if all were refused.
    assert 0.3 * clock.done < refused < clock.done
    return refused


@pytest.mark.parametrize('model', [Robot, ReachSettings, Training, None],
                         ids=['robot', 'task', 'training', 'parameters'])
def test_a_damaged_file_is_refused_in_one_line_or_right(model, tmp_path):
    attack(model, 1, 300, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize('model', [Robot, ReachSettings, Training, None],
                         ids=['robot', 'task', 'training', 'parameters'])
def test_a_hundred_thousand_damaged_files_of_a_kind(model, tmp_path):
    clock = Clock(f'files of {model.__name__ if model else "parameters"}')
    refused = attack(model, 100 + SEED, clock.wanted, tmp_path, clock)
    clock.finish(f', {refused} refused')
