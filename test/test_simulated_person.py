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

"""A simulated person: when they take over, what they ask for, and that a run is helped by it."""

import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

from finetune_run import Run
from finetune_run import runs as runs
import numpy as np
import pytest
from small_run import prepare

from spaars_ros.control.actuation import Actuation
from spaars_ros.control.person import Person
from spaars_ros.control.takeover import Takeover
from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Mode
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.env import ArmEnv
from spaars_ros.sim.person import as_command
from spaars_ros.sim.person import SimulatedPerson
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import World
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task

pytestmark = pytest.mark.timeout(240)


def made(name: str) -> Task:
    settings = load_task(name)
    return make_task(load_robot(settings.robot or 'panda'), settings)


def insert(seed: int = 0) -> tuple[ArmEnv, SimulatedPerson]:
    settings = load_task('insert')
    env = ArmEnv(load_robot(settings.robot), settings)
    return env, SimulatedPerson(env.task, np.random.default_rng(seed))


def helped(env: ArmEnv, person: SimulatedPerson, action: np.ndarray,
           seed: int) -> tuple[bool, list[bool]]:
    """Return whether a policy of one action succeeds, and in which ticks a person acts."""
    observation, _ = env.reset(seed=seed)
    person.begin()
    acted, ended, info = [], False, {}
    while not ended:
        asked = person.see(observation)
        acted.append(asked is not None)
        observation, _, terminated, truncated, info = env.step(action if asked is None else asked)
        ended = terminated or truncated
    return bool(info['success']), acted


def test_a_policy_that_does_nothing_is_corrected_after_a_reaction_time() -> None:
    env, person = insert()
    results = [helped(env, person, np.zeros(5), seed) for seed in range(6)]
    rate = env.task.robot.control.rate
    for _, acted in results:
        first = acted.index(True) / rate
        assert 1.4 <= first <= 1.6, 'patience and reaction, not before and not much later'
    assert sum(success for success, _ in results) >= 1


def test_nobody_takes_over_from_a_policy_that_gets_on() -> None:
    env, person = insert()
    operator = env.task.corrector(np.random.default_rng(3))
    observation, _ = env.reset(seed=0)
    operator.begin(observation)
    person.begin()
    ended = False
    while not ended:
        assert person.see(observation) is None
        observation, _, terminated, truncated, info = env.step(operator.act(observation))
        ended = terminated or truncated
    assert info['success'] and not person.takeovers


def test_the_arm_is_given_back_once_things_go_well_again() -> None:
    env, person = insert()
    _, acted = helped(env, person, np.zeros(5), 1)
    changes = np.flatnonzero(np.diff(acted))
    assert len(changes) >= 2, 'taken over, and given back'
    assert changes[1] - changes[0] >= env.task.robot.control.rate * 0.9


def test_the_same_seed_is_the_same_person() -> None:
    found = []
    for _ in range(2):
        env, person = insert(seed=4)
        found.append(helped(env, person, np.zeros(5), 2)[1])
    assert found[0] == found[1]


@pytest.mark.parametrize('name', ['reach', 'insert', 'pick'])
def test_a_command_becomes_the_action_that_it_was_made_of(name: str) -> None:
    """Through the code that a real person's commands go through."""
    task = made(name)
    kinematics = Kinematics(task.robot)
    person = Person(len(task.robot.joints), clock=lambda: 0.0)
    takeover = Takeover(task.robot, task.spec, person, Actuation(
        task.robot, task.spec, SafetyFilter(task.robot), kinematics), kinematics)
    person.switch('hand', False)
    person.switch('hand', True)
    rng = np.random.default_rng(0)
    state = Arm(task.robot).state()
    for _ in range(5):
        action = rng.uniform(-1.0, 1.0, task.action_dim)
        asked = as_command(task, action)
        if asked.frame is None:
            person.joint_velocities(asked.values)
        else:
            person.twist(asked.values, asked.frame)
        width = task.spec.action.width
        done = takeover.action_of(person.wish(), state)[:width]
        assert done == pytest.approx(action[:width], abs=1e-9)


def test_a_task_in_which_nobody_can_be_simulated_is_refused() -> None:
    class Mute(Task):
        def __init__(self) -> None:
            self.spec = made('reach').spec

        def observe(self, world: World, goal: Any) -> Any:
            raise NotImplementedError

        def reward(self, before: Any, action: Any, after: Any) -> Any:
            raise NotImplementedError
    with pytest.raises(ConfigError, match=r'no potential\(\)'):
        SimulatedPerson(Mute(), np.random.default_rng(0))


def test_a_run_is_taken_over_by_the_topics_of_a_real_person(tmp_path: Path,
                                                            runs: list[Run]) -> None:
    small = prepare(tmp_path / 'small')
    domain = '0'
    run = Run(small, tmp_path / 'run', '--episodes', '0', '--real-time-factor', '2')
    runs.append(run)
    for line in Path(f'/proc/{run.process.pid}/environ').read_bytes().split(b'\0'):
        if line.startswith(b'ROS_DOMAIN_ID='):
            domain = line.partition(b'=')[2].decode()
    person = subprocess.Popen(
        [sys.executable, '-m', 'spaars_ros.cli', 'teleop', '--simulated', '--domain', domain,
         '--task', str(small / 'task.yaml')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, bufsize=1, env={**os.environ, 'PYTHONUNBUFFERED': '1'})
    try:
        assert person.stdout is not None
        for line in person.stdout:
            if line.startswith('takeover 3'):
                break
    finally:
        person.send_signal(signal.SIGINT)
        assert person.wait(30) == 0
    run.process.send_signal(signal.SIGINT)
    assert run.wait(90) == 0, run.text
    schema, rows = read_steps(run.out / 'transitions.mcap')
    human = schema.get(rows, 'mode') == Mode.HUMAN
    assert human.sum() > 5
    assert 'PERSON_LOST' not in run.text
