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

"""Faults that are made on purpose: what the injector does, and what the nodes make of it."""

import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.controller import HoldingController
from spaars_ros.sim.faults import FaultInjector
from spaars_ros.sim.faults import FaultScript

pytestmark = pytest.mark.timeout(120)

PERIOD = 0.05
PERIOD_NS = 50_000_000
START_NS = 10**9
FLAT = RobotState(START_NS, np.zeros(3), np.zeros(3), np.zeros(3))


def moving(count: int) -> list[RobotState]:
    """Return states of three joints whose positions are their numbers."""
    return [RobotState(START_NS + k * PERIOD_NS, np.full(3, float(k)), np.ones(3), np.full(3, k))
            for k in range(count)]


def wire(count: int = 400, seed: int = 0, **faults: float) -> list[list[RobotState]]:
    """Return what is published after each of `count` states."""
    injector = FaultInjector(seed=seed, joints=3, period=PERIOD)
    injector.set(faults)
    return [injector.measured(state) for state in moving(count)]


def numbers(published: list[list[RobotState]]) -> list[int]:
    """Return the places of the states that were published, in order."""
    return [(state.stamp_ns - START_NS) // PERIOD_NS for group in published for state in group]


def test_without_a_fault_states_pass_untouched() -> None:
    for state, out in zip(moving(20), wire(20)):
        assert len(out) == 1
        np.testing.assert_array_equal(out[0].position, state.position)
        assert out[0].stamp_ns == state.stamp_ns


def test_the_same_seed_makes_the_same_faults_and_another_makes_others() -> None:
    faults = {'drop': 0.3, 'duplicate': 0.2, 'reorder': 0.2, 'nan': 0.1, 'spike': 0.5}
    assert numbers(wire(seed=3, **faults)) == numbers(wire(seed=3, **faults))
    assert numbers(wire(seed=3, **faults)) != numbers(wire(seed=4, **faults))


def test_one_fault_does_not_change_when_another_strikes() -> None:
    alone = set(range(400)) - set(numbers(wire(drop=0.3)))
    beside = set(range(400)) - set(numbers(wire(drop=0.3, duplicate=0.5, nan=0.5)))
    assert alone == beside


def test_dropped_states_never_come() -> None:
    seen = numbers(wire(drop=0.25))
    assert seen == sorted(set(seen))
    assert 0.18 < 1 - len(seen) / 400 < 0.32
    assert numbers(wire(drop=1.0)) == []


def test_delayed_states_come_late_and_all() -> None:
    out = wire(delay=0.12)
    assert [len(group) for group in out[:5]] == [0, 0, 0, 1, 1]
    assert numbers(out) == list(range(400 - 3))


def test_duplicated_states_come_twice_running() -> None:
    seen = numbers(wire(duplicate=0.3))
    twice = [a for a, b in zip(seen, seen[1:]) if a == b]
    assert sorted(set(seen)) == list(range(400))
    assert 80 < len(twice) < 160
    assert len(seen) == 400 + len(twice)


def test_reordered_states_come_behind_the_next_one() -> None:
    seen = numbers(wire(reorder=0.2))
    back = [a - b for a, b in zip(seen, seen[1:]) if b < a]
    assert len(back) > 20
    assert set(back) == {1}
    assert sorted(seen)[:390] == list(range(390))


def test_nan_is_in_one_joint_of_its_share() -> None:
    bad = [state for group in wire(nan=0.2) for state in group
           if not np.isfinite(state.position).all()]
    assert 50 < len(bad) < 110
    assert all(np.isnan(state.position).sum() == 1 for state in bad)
    assert {int(np.argmax(np.isnan(state.position))) for state in bad} == {0, 1, 2}


def test_a_spike_is_in_one_joint_of_its_share() -> None:
    off = [state.position - state.position.min() for group in wire(spike=0.7, spike_share=0.3)
           for state in group]
    hit = [each for each in off if each.any()]
    assert 80 < len(hit) < 160
    assert all(sorted(each)[:2] == [0.0, 0.0] and max(each) == pytest.approx(0.7)
               for each in hit)


def test_frozen_joints_repeat_the_first_values_with_new_stamps_until_it_ends() -> None:
    injector = FaultInjector(seed=0, joints=3, period=PERIOD)
    states = moving(12)
    injector.measured(states[0])
    injector.set({'frozen': 2})
    for state in states[1:8]:
        (seen,) = injector.measured(state)
        assert seen.stamp_ns == state.stamp_ns
        np.testing.assert_array_equal(seen.position, [1.0, 1.0, state.position[2]])
        np.testing.assert_array_equal(seen.effort, [1.0, 1.0, state.effort[2]])
    injector.set({'frozen': 0})
    (seen,) = injector.measured(states[8])
    np.testing.assert_array_equal(seen.position, states[8].position)
    injector.set({'frozen': 1})
    (seen,) = injector.measured(states[9])
    assert seen.position[0] == 9.0, 'freezes anew, not at the old values'


@pytest.mark.parametrize('jump', [2.5, -0.7])
def test_the_clock_jumps_both_ways(jump: float) -> None:
    injector = FaultInjector(seed=0, joints=3, period=PERIOD)
    injector.set({'clock_jump': jump})
    (seen,) = injector.measured(FLAT)
    assert seen.stamp_ns == START_NS + round(jump * 1e9)
    assert injector.offset_ns == round(jump * 1e9)


def test_asked_again_nothing_is_held_back() -> None:
    """Or lockstep would wait for the answer to a state that it never published."""
    injector = FaultInjector(seed=0, joints=3, period=PERIOD)
    injector.set({'delay': 1.0})
    assert injector.measured(FLAT) == []
    assert [state.stamp_ns for state in injector.measured(FLAT, again=True)] == [START_NS] * 2


@pytest.mark.parametrize('wrong', [{'drop': 1.1}, {'drop': -0.1}, {'drop': float('nan')},
                                   {'drop': True}, {'drop': '1'}, {'dorp': 0.5},
                                   {'payload': -1.0}])
def test_a_fault_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    injector = FaultInjector(seed=0, joints=3, period=PERIOD)
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        injector.set(wrong)
    assert numbers([injector.measured(state) for state in moving(50)]) == list(range(50))


def test_a_script_says_what_is_in_force_when(tmp_path: Path) -> None:
    path = tmp_path / 'faults.yaml'
    path.write_text('- {at: 1.0, for: 2.0, set: {drop: 0.5, payload: 2}}\n'
                    '- {at: 2.0, set: {drop: 0.1}}\n')
    script = FaultScript(path)
    assert script.at(0.99) == {}
    assert script.at(1.0) == {'drop': 0.5, 'payload': 2.0}
    assert script.at(2.5) == {'drop': 0.1, 'payload': 2.0}
    assert script.at(1000.0) == {'drop': 0.1}


@pytest.mark.parametrize(('text', 'why'), [
    ('drop: 0.5', 'expected a list'), ('- {at: 1.0}', 'entry 0'), ('- 3', 'entry 0'),
    ('- {at: 1.0, set: {drop: 2.0}}', 'drop'), ('- {at: 1.0, set: {speed: 2.0}}', 'speed'),
    ('- {at: -1.0, set: {drop: 0.5}}', 'at and for'), ('- {at: .nan, set: {}}', 'at and for'),
    ('- {at: 1.0, until: 2.0, set: {drop: 0.5}}', 'entry 0'), ('- [', 'not YAML')])
def test_a_wrong_script_is_refused_with_its_place(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / 'faults.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=why):
        FaultScript(path)


def controller(**settings: float) -> HoldingController:
    made = HoldingController(np.full(2, 10.0), PERIOD)
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def test_a_controller_without_timeout_holds_a_dead_clients_velocity_for_ever() -> None:
    """The accident: the policy server is killed, and the arm goes on into its joint limit."""
    made = controller()
    made.take(np.ones(2), 0)
    assert made.velocity(3600 * 10**9).tolist() == [1.0, 1.0]


def test_a_controller_with_timeout_brakes_to_rest() -> None:
    made = controller(timeout=0.2)
    made.take(np.ones(2), 0)
    speeds = [float(made.velocity(k * PERIOD_NS)[0]) for k in range(12)]
    assert speeds[:5] == [1.0] * 5
    assert speeds[5:8] == [0.5, 0.0, 0.0]
    made.take(np.ones(2), 12 * PERIOD_NS)
    assert made.velocity(12 * PERIOD_NS)[0] == 1.0


def test_a_slow_controller_obeys_late_and_softly() -> None:
    late = controller(delay=0.1)
    late.take(np.ones(2), 0)
    assert [float(late.velocity(k * PERIOD_NS)[0]) for k in range(4)] == [0.0, 0.0, 1.0, 1.0]
    soft = controller(lag=0.2)
    soft.take(np.ones(2), 0)
    speeds = [float(soft.velocity(k * PERIOD_NS)[0]) for k in range(40)]
    assert speeds[3] == pytest.approx(1 - np.exp(-1.0))
    assert speeds == sorted(speeds)
    assert speeds[-1] > 0.99


def steady(**disturbance: float) -> np.ndarray:
    """Return how far the joints went in a second of small velocity commands, (7,) rad."""
    robot = load_robot()
    arm = Arm(robot)
    arm.disturb(**disturbance)
    begin = arm.state().position
    for _ in range(20):
        arm.step(np.full(7, 0.1))
    return np.asarray(arm.state().position - begin)


def test_an_unknown_payload_pulls_the_arm_down() -> None:
    """The servo knows the arm, not what somebody screwed to its tip."""
    robot = load_robot()
    tips = []
    for payload in (0.0, 3.0):
        arm = Arm(robot)
        arm.disturb(payload=payload)
        for _ in range(20):
            arm.step(np.zeros(7))
        tips.append(arm.tip()[2])
    assert tips[1] < tips[0] - 0.02


def test_unknown_friction_and_damping_hold_the_arm_back() -> None:
    free = steady()
    np.testing.assert_allclose(free, 0.1, atol=0.005)
    assert (steady(friction=2.0) < free - 0.002).all()
    assert (steady(damping=20.0) < free - 0.002).all()


def test_a_disturbance_that_ends_leaves_the_arm_as_it_was() -> None:
    robot = load_robot()
    arm, fresh = Arm(robot), Arm(robot)
    arm.disturb(payload=2.0, friction=1.0, damping=3.0)
    arm.disturb()
    for one in (arm, fresh):
        one.reset(np.asarray(robot.home))
        for _ in range(20):
            one.step(np.full(7, 0.1))
    np.testing.assert_allclose(arm.state().position, fresh.state().position, atol=1e-12)


def stress(tmp_path: Path, *faults: str, trigger: str = 'timer') -> dict[str, Any]:
    """Return fault -> row of `spaars stress`, which has to succeed."""
    out = tmp_path / 'rows.json'
    done = subprocess.run(
        [sys.executable, '-m', 'spaars_ros.cli', 'stress', '--json', str(out),
         '--trigger', trigger,
         *(text for fault in faults for text in ('--fault', fault))],
        capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, 'that the recording goes on while it is read is no news'
    return {row['fault']: row for row in json.loads(out.read_text())}


@pytest.mark.parametrize(('trigger', 'faults'), [
    ('timer', ('dropped', 'server_killed')), ('joint_states', ('dropped',))])
def test_stress_stops_the_arm_loses_nothing_and_comes_back(
        tmp_path: Path, trigger: str, faults: tuple[str, ...]) -> None:
    """No joint_states, and a server killed outright, in a real run of all four nodes."""
    rows = stress(tmp_path, *faults, trigger=trigger)
    assert tuple(rows) == faults
    for row in rows.values():
        assert row['transitions_lost'] == 0
        assert row['detected_s'] > 0.0
        assert row['stopped_s'] is not None, 'the arm did not come to rest'
        assert row['joint_margin_rad'] > 0.0
        assert not row['skipped']
    assert rows['dropped']['stop'] == 'STALE'
    assert rows['dropped']['recovered'] == 'reset'
    if 'server_killed' in rows:
        assert 'restart' in rows['server_killed']['recovered']
        assert 'policy_server' in rows['server_killed']['detected_by']


@pytest.mark.skipif(os.environ.get('SPAARS_LONG') != '1', reason='minutes; SPAARS_LONG=1 runs it')
@pytest.mark.timeout(900)
def test_the_whole_matrix_loses_no_recorded_transition(tmp_path: Path) -> None:
    """Every fault that can be made here; each row says how the run came back."""
    rows = stress(tmp_path)
    assert len(rows) >= 25
    for row in rows.values():
        assert row['skipped'] or (row['transitions_lost'] == 0 and row['recovered'] != 'no'), row
    for fault, stop in (('dropped', 'STALE'), ('nan', 'NON_FINITE_STATE'), ('spike', 'SPIKE'),
                        ('frozen', 'FROZEN'), ('clock_back', 'CLOCK_JUMP'),
                        ('monitor_killed', 'COST_MONITOR'), ('server_disk_full', 'SPOOL')):
        assert rows[fault]['stop'] == stop
        assert rows[fault]['stopped_s'] is not None


@pytest.mark.parametrize(('given', 'said'), [
    ('--fault gremlin', 'known are none, dropped'),
    ('--trigger clock', 'known are timer, joint_states')])
def test_an_unknown_fault_or_trigger_is_one_clear_line(given: str, said: str) -> None:
    done = subprocess.run([sys.executable, '-m', 'spaars_ros.cli', 'stress', *given.split()],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f'error: {given}: {said}')
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(('row', 'fails'), [
    ({'transitions_lost': 0, 'recovered': 'reset'}, False),
    ({'transitions_lost': 1, 'recovered': 'reset'}, True),
    ({'transitions_lost': 0, 'recovered': 'no'}, True),
    ({'transitions_lost': 0, 'recovered': 'reset', 'worst_margin': -0.001}, True),
    ({'transitions_lost': 0, 'recovered': 'reset', 'worst_margin': -1.0, 'judged': False}, False),
    ({'transitions_lost': None, 'recovered': None, 'skipped': 'no network namespaces'}, False)])
def test_a_lost_transition_a_limit_passed_or_a_run_that_stays_down_fails_stress(
        row: dict[str, Any], fails: bool) -> None:
    from spaars_ros.commissioning.stress import failures
    assert failures([{'fault': 'x', 'skipped': '', **row}]) == (['x'] if fails else [])


@pytest.mark.parametrize(('seeds', 'runs', 'wanted'), [
    ('', None, [0]), ('', 3, [0, 1, 2]), ('7', 2, [7, 8]), ('3,9', None, [3, 9]), ('5', 0, [])])
def test_seeds_of_stress(seeds: str, runs: int | None, wanted: list[int]) -> None:
    from spaars_ros.commands.stress import seeds_of
    assert seeds_of(seeds, runs) == wanted


@pytest.mark.parametrize(('seeds', 'runs'), [('a', None), ('-1', None), ('1,,2', None),
                                             ('1,2', 3), ('9' * 30, None)])
def test_seeds_that_are_none_are_refused(seeds: str, runs: int | None) -> None:
    from spaars_ros.commands.stress import seeds_of
    with pytest.raises(ValueError, match='--'):
        seeds_of(seeds, runs)


def test_the_table_of_stress_counts_runs_and_names_failures(tmp_path: Path) -> None:
    from spaars_ros.commissioning.stress import BY_NAME
    whole = {'about': '', 'detected_s': 0.2, 'detected_by': 'stop STALE', 'stop': 'STALE',
             'stopped_s': 0.3, 'worst_margin': 0.1, 'worst_limit': 'keep-out, m',
             'joint_margin_rad': 0.5, 'zone_margin_m': 0.1, 'worst_speed': 0.4,
             'transitions_lost': 0, 'recovered': 'reset', 'skipped': ''}
    rows = [{**whole, 'fault': fault, 'seed': seed, 'judged': not BY_NAME[fault].unstoppable}
            for seed in range(3) for fault in ('dropped', 'server_killed_no_timeout')]
    for row in rows[-2:]:
        row.update(worst_margin=-0.02, zone_margin_m=-0.02)
    (tmp_path / 'rows.json').write_text(json.dumps(rows))
    page = tmp_path / 'page.md'
    page.write_text('before\n')
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, '-m', 'spaars_ros.cli', 'stress', '--runs', '0', '--add',
             str(tmp_path / 'rows.json'), '--table', str(page)],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr.endswith('did not recover: dropped\n')
    text = page.read_text()
    assert text.startswith('before\n') and text.count('6 runs of 2 faults') == 1
    assert '* dropped, seed 2: 0.0200 beyond: keep-out, m' in text
    assert '* server_killed_no_timeout' not in text and '| (-0.0200) |' in text


def test_runs_of_stress_that_are_in_its_lines_are_not_made_again(tmp_path: Path) -> None:
    """A call that was interrupted, in the middle of a line, too."""
    from spaars_ros.commissioning.stress_rows import RowLog
    from spaars_ros.commissioning.stress_rows import rows_of
    path = tmp_path / 'rows.jsonl'
    log = RowLog(path)
    for seed in range(2):
        log.append({'fault': 'dropped', 'seed': seed, 'transitions_lost': 0,
                    'recovered': 'reset'})
    whole = path.read_text()
    path.write_text(whole + '{"fault": "nan", "se')
    table = tmp_path / 'faults.json'
    done = subprocess.run(
        [sys.executable, '-m', 'spaars_ros.cli', 'stress', '--runs', '2', '--fault', 'dropped',
         '--json', str(path), '--table', str(table)],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == whole and len(rows_of(path)) == 2
    made = json.loads(table.read_text())
    assert made['command'] == 'spaars stress --runs 2 --fault dropped'
    assert made['seeds'] == ['0 to 1'] and made['note'].startswith('2 runs of 1 faults')
    assert len(made['rows']) == 1 and len(made['rows'][0]) == len(made['columns'])


@pytest.mark.parametrize('text', ['{}\n', '7\n', '{"fault"\n'])
def test_lines_of_something_else_are_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    from spaars_ros.commissioning.stress_rows import RowLog
    path = tmp_path / 'rows.jsonl'
    path.write_text(text)
    with pytest.raises(ValueError, match='rows.jsonl: not'):
        RowLog(path)
    assert path.read_text() == text


def test_a_network_that_raises_further_on_is_made_from_any_bundle() -> None:
    from spaars_ros.commissioning.stress_hostile import raises_beyond
    from spaars_ros.learning.online.pretrain import untrained_bundle
    from spaars_ros.policy.runtime import PolicyRuntime
    from spaars_ros.robot.config import load_robot
    from spaars_ros.tasks.registry import load_task
    from spaars_ros.tasks.registry import make_task
    from spaars_ros.training_file import load_training
    robot = load_robot()
    bundle = untrained_bundle(robot, make_task(robot, load_task()),
                              load_training('spaars', width=8, heads=2), seed=0)
    here = np.asarray(bundle.manifest.observation_mean, dtype=np.float64)
    runtime = PolicyRuntime(raises_beyond(bundle, 1.0, 7))
    assert runtime.manifest.version == 7
    runtime.decide(here)
    with pytest.raises(Exception, match='Gather'):
        PolicyRuntime(raises_beyond(bundle, -1.0, 7)).decide(here)


def test_memory_slope_of_a_leak_is_found() -> None:
    from benchmarks.soak import memory_use
    times = np.arange(0.0, 600.0)
    flat, leaking = np.full(600, 100.0), 100.0 + times / 60.0 * 2.0
    flat[:100] = np.linspace(50.0, 100.0, 100)  # warm-up does not count
    use = memory_use(times, {'a': list(flat), 'b': list(leaking)})
    assert use['memory']['a']['slope_mb_per_min'] == pytest.approx(0.0, abs=1e-9)
    assert use['memory']['b']['slope_mb_per_min'] == pytest.approx(2.0)
    assert use['worst_slope_mb_per_min'] == pytest.approx(2.0)
