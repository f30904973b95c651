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

"""What viewers draw the arm from: its URDF, where its links are, and the layout for Foxglove."""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any
from xml.etree import ElementTree

from any_robot import arms
from arms import five_joints
from domains import DOMAINS
from geometry_msgs.msg import TransformStamped
from hypothesis import given
from hypothesis import reject
from hypothesis import settings
import mujoco
import numpy as np
from peer import peer_of
import pytest
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import String
import yaml

from spaars_ros.constraints.multipliers import COLUMNS
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.links import Links
from spaars_ros.robot.links import Transform
from spaars_ros.robot.urdf import description_of
from spaars_ros.ros.fields import LAYOUTS
from spaars_ros.ros.qos import QOS

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parent.parent
DOMAIN = next(DOMAINS)
STRANGE = """<mujoco><compiler angle="radian"/><worldbody>
  <geom type="plane" size="1 1 1"/>
  <body name="base" pos="0.1 0 0.2" euler="0.3 -0.2 0.5">
    <body pos="0 0.1 0.1" quat="0.5 0.5 0.5 0.5">
      <joint name="a" pos="0.03 -0.02 0.05" axis="1 2 3" ref="0.4"/>
      <joint name="b" type="slide" axis="0 1 1" ref="0.05"/>
      <geom type="capsule" fromto="0 0 0 0.1 0.1 0.2" size="0.02"/>
      <geom type="ellipsoid" size="0.02 0.03 0.04" pos="0 0 0.1"/>
      <body name="c" pos="0.2 0 0"><joint name="c" axis="0 0 1"/>
        <geom type="cylinder" size="0.02 0.1" euler="1.5708 0 0"/>
        <geom type="box" size="0.01 0.02 0.03" rgba="1 0 0 0"/>
        <body name="tip" pos="0 0 0.1" euler="0 1.5707963267948966 0">
          <geom type="sphere" size="0.01" mass="0.1"/></body>
      </body></body></body></worldbody></mujoco>"""


def strange(folder: Path) -> Robot:
    """Return an arm with all that a URDF has no word for."""
    (folder / 'arm.xml').write_text(STRANGE)
    (folder / 'arm.yaml').write_text(yaml.safe_dump({
        'name': 'strange', 'model': 'arm.xml', 'joints': ['c', 'a', 'b'], 'tip': 'tip',
        'tip_offset': [0.0, 0.01, 0.02], 'home': [0.1, 0.2, 0.0], 'limits': {
            'position': [[-2.0, 2.0], [-1.0, 1.0], [-0.1, 0.1]], 'velocity': [1.0, 1.0, 0.1],
            'torque': [100.0] * 3}, 'self_collision': False}))
    return load_robot(str(folder / 'arm.yaml'))


def tip_of_urdf(text: str, robot: Robot, position: Any) -> Any:
    """Return where a URDF has the tool tip (3,) m and its rotation (3, 3), in MuJoCo."""
    spec = mujoco.MjSpec.from_string(text)
    spec.compiler.fusestatic = False
    for body in spec.bodies:
        if body.name != 'world':
            body.mass, body.inertia, body.explicitinertial = 1.0, [1.0, 1.0, 1.0], True
    model = spec.compile()
    data = mujoco.MjData(model)
    for name, value in zip(robot.joints, position):
        data.qpos[model.joint(name).qposadr] = value
    mujoco.mj_kinematics(model, data)
    tips = [name for name in ('tool_tip_point', 'tip')
            if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) >= 0]
    body = model.body(tips[0]).id
    return data.xpos[body], data.xmat[body].reshape(3, 3)


def placed(transforms: list[Transform]) -> dict[str, tuple[Any, Any]]:
    """Return frame -> place (3,) m and rotation (3, 3) in the root."""
    found: dict[str, tuple[Any, Any]] = {}
    for one in transforms:
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, one.turn)
        place, frame = found.get(one.parent, (np.zeros(3), np.eye(3)))
        found[one.child] = place + frame @ one.position, frame @ turn.reshape(3, 3)
    return found


def agree(robot: Robot, seed: int = 0) -> None:
    """Hold URDF and transforms to the kinematics that the filter uses."""
    kinematics, links = Kinematics(robot), Links(Kinematics(robot))
    text = description_of(robot, Kinematics(robot))
    rng = np.random.default_rng(seed)
    low, high = np.array(robot.limits.position).T
    for _ in range(3):
        position = rng.uniform(low, high)
        tip = kinematics.tip(position)
        seen, turn = tip_of_urdf(text, robot, position)
        # A URDF has its numbers in nine digits.
        assert seen == pytest.approx(tip, abs=1e-6)
        transforms = links.at(position)
        place, frame = placed(transforms)[transforms[-1].child]
        assert place == pytest.approx(tip, abs=1e-9)
        assert turn == pytest.approx(frame, abs=1e-6)


def test_the_urdf_of_the_panda_is_its_model() -> None:
    agree(load_robot())
    text = description_of(load_robot(), Kinematics(load_robot()))
    shapes = {shape.tag for shape in ElementTree.fromstring(text).iterfind('.//geometry/*')}
    assert shapes == {'cylinder', 'sphere', 'box'}


def test_anchors_references_and_several_joints_of_a_body_are_chains_of_links(
        tmp_path: Path) -> None:
    agree(strange(tmp_path))
    text = description_of(strange(tmp_path), Kinematics(strange(tmp_path)))
    names = [link.get('name') for link in ElementTree.fromstring(text).iterfind('link')]
    assert len(names) == len(set(names)) and names[0] == 'world', 'a body is called base'


@settings(max_examples=25, deadline=None)
@pytest.mark.filterwarnings('ignore')
@given(arms())
def test_the_urdf_of_any_arm_is_its_model(arm: Any) -> None:
    model, content = arm
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / 'any.xml').write_text(model)
        (Path(folder) / 'any.yaml').write_text(yaml.safe_dump({**content, 'model': 'any.xml'}))
        try:
            robot = load_robot(str(Path(folder) / 'any.yaml'))
            Kinematics(robot)
        except ConfigError:
            reject()
        agree(robot)


def test_a_mesh_file_is_shown_where_the_model_has_it(tmp_path: Path) -> None:
    (tmp_path / 'parts').mkdir()
    corners = [(x, y, z) for x in (0.1, 0.2) for y in (0.0, 0.1) for z in (0.0, 0.3)]
    (tmp_path / 'parts' / 'hull.obj').write_text(
        ''.join(f'v {x} {y} {z}\n' for x, y, z in corners)
        + ''.join(f'f {a} {b} {c}\n' for a, b, c in (
            (1, 2, 3), (2, 4, 3), (5, 7, 6), (6, 7, 8), (1, 5, 2), (2, 5, 6), (3, 4, 7), (4, 8, 7),
            (1, 3, 5), (3, 7, 5), (2, 6, 4), (4, 6, 8))))
    path = five_joints(tmp_path)
    model = (tmp_path / 'arm.xml').read_text().replace(
        '<worldbody>', '<asset><mesh name="hull" file="hull.obj"/></asset><worldbody>').replace(
        'angle="radian"', 'angle="radian" meshdir="parts"').replace(
        '<site', '<geom type="mesh" mesh="hull" pos="0 0 0.1" mass="0.1"/><site')
    (tmp_path / 'arm.xml').write_text(model)
    robot = load_robot(str(path))
    root = ElementTree.fromstring(description_of(robot, Kinematics(robot)))
    visual = next(each for each in root.iterfind('.//visual') if each.find('geometry/mesh')
                  is not None)
    mesh = visual.find('geometry/mesh')
    assert mesh is not None
    assert mesh.get('filename') == (tmp_path / 'parts' / 'hull.obj').resolve().as_uri()
    origin = visual.find('origin')
    assert origin is not None
    # The file's own origin is where the geom was put, whatever MuJoCo made of the mesh.
    assert [float(each) for each in str(origin.get('xyz')).split()] == pytest.approx(
        [0.0, 0.0, 0.1], abs=1e-6)
    assert [float(each) for each in str(origin.get('rpy')).split()] == pytest.approx(
        [0.0] * 3, abs=1e-6)


def test_a_model_that_is_a_urdf_is_published_as_it_is(tmp_path: Path) -> None:
    text = description_of(load_robot(), Kinematics(load_robot()))
    inertial = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" ' \
               'iyz="0"/></inertial></link>'
    text = re.sub(r'<link name="([^"]*)" />', r'<link name="\1"></link>', text)
    text = text.replace('</link>', inertial)
    text = text.replace('<link name="base">', '<mujoco><compiler fusestatic="false"/></mujoco>'
                        '<link name="base">', 1)
    (tmp_path / 'panda.urdf').write_text(text)
    content = yaml.safe_load((ROOT / 'config' / 'robot' / 'panda.yaml').read_text())
    (tmp_path / 'panda.yaml').write_text(yaml.safe_dump(
        {**content, 'model': 'panda.urdf', 'tip': 'tip', 'tip_offset': [0.0, 0.0, 0.0]}))
    robot = load_robot(str(tmp_path / 'panda.yaml'))
    assert description_of(robot, Kinematics(robot)) == text


# The process


@pytest.fixture
def peer() -> Iterator[tuple[Any, SingleThreadedExecutor]]:
    with peer_of('arm', DOMAIN) as made:
        yield made


def test_a_real_arms_links_are_where_its_joint_states_say(
        peer: tuple[Any, SingleThreadedExecutor]) -> None:
    node, executor = peer
    process = subprocess.Popen(
        [sys.executable, '-m', 'spaars_ros.cli', 'describe', '--namespace', 'left',
         '--joint-states', '/arm/joint_states'], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.STDOUT, env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)})
    texts: list[str] = []
    links: dict[str, TransformStamped] = {}
    node.create_subscription(String, '/left/robot_description',
                             lambda msg: texts.append(msg.data), QOS['robot_description'])
    node.create_subscription(TransformStamped, '/left/link_poses',
                             lambda msg: links.update({msg.child_frame_id: msg}),
                             QOS['link_poses'])
    states = node.create_publisher(JointState, '/arm/joint_states', QOS['joint_states'])
    robot = load_robot()
    position = np.asarray(robot.home) + 0.1
    end = time.monotonic() + 60.0
    try:
        while not (texts and len(links) == 9):
            assert time.monotonic() < end, (len(texts), sorted(links))
            # As some robots publish: in parts, among joints of others.
            for part in (slice(0, 3), slice(3, None)):
                msg = JointState(name=[*robot.joints[part], 'finger'],
                                 position=[*position[part].tolist(), 0.5])
                msg.header.stamp.sec = 7
                states.publish(msg)
            states.publish(JointState(name=robot.joints, position=[float('nan')] * 7))
            executor.spin_once(timeout_sec=0.05)
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
    assert process.returncode == 0 and 'robot_description' in said, said
    assert texts[0] == description_of(robot, Kinematics(robot))
    assert all(each.header.frame_id.startswith('left/') for each in links.values())
    assert links['left/tip'].header.stamp.sec == 7
    transforms = [Transform(
        each.header.frame_id, name, np.array([getattr(each.transform.translation, axis)
                                              for axis in 'xyz']),
        np.array([getattr(each.transform.rotation, axis) for axis in 'wxyz']))
        for name, each in links.items()]
    chain = {one.child: one for one in transforms}
    order = ['left/tip']
    while chain[order[-1]].parent in chain:
        order.append(chain[order[-1]].parent)
    tip = placed([chain[name] for name in reversed(order)])['left/tip'][0]
    assert tip == pytest.approx(Kinematics(robot).tip(position), abs=1e-9)


def test_a_robot_file_that_is_not_there_is_one_line() -> None:
    done = subprocess.run([sys.executable, '-m', 'spaars_ros.cli', 'describe', '--robot',
                           'nowhere.yaml'], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and 'nowhere.yaml' in done.stderr
    assert done.stderr.count('\n') == 1


# The layout


def said_in(value: Any) -> Iterator[tuple[str, str]]:
    """Yield every (key, text) of a layout."""
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, str):
                yield key, each
            yield from said_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from said_in(each)


def layout() -> dict[str, Any]:
    content = json.loads((ROOT / 'config' / 'foxglove' / 'spaars.json').read_text())
    assert isinstance(content, dict)
    return content


def test_the_layout_names_topics_and_services_that_there_are() -> None:
    content = layout()['configById']
    known = {'/' + name.lstrip('/') for name in QOS}
    named = {text for key, text in said_in(content)
             if key in ('topic', 'topicName', 'topicToRender')}
    named |= {re.match(r'[\w/]+', text)[0] for key, text in said_in(content)
              if key in ('value', 'topicPath') and text.startswith('/')}
    named |= set(content['3D!arm']['topics'])
    assert len(named) > 6 and named <= known
    services = {text for key, text in said_in(content) if key == 'serviceName'}
    written = (ROOT / 'docs' / 'reference' / 'topics.md').read_text()
    assert services and all(f'`{name[1:]}`' in written for name in services)


def test_the_layouts_places_in_messages_are_the_fields_that_it_calls_them() -> None:
    """Plots of array topics go by place: with another field in between they show another."""
    progress = list(LAYOUTS['learner/progress'].widths)
    constraints = len(load_robot().constraints)
    at = 1 + constraints * np.arange(1 + len(COLUMNS))
    multiplier = dict(zip(('cost', *COLUMNS), at.tolist()))
    wanted = {'updates': f'progress.data[{progress.index("updates")}]',
              'owed': f'progress.data[{progress.index("owed")}]',
              'policy version': f'progress.data[{progress.index("bundle_version")}]',
              'share of raw actions': f'progress.data[{progress.index("gate_share")}]',
              "a person's actions from the decoder's":
              f'progress.data[{progress.index("out_of_reach")}]',
              'paused': f'progress.data[{progress.index("paused")}]',
              'cost': f'multiplier.data[{multiplier["cost"]}]',
              'limit': f'multiplier.data[{multiplier["limit"]}]',
              'lambda': f'multiplier.data[{multiplier["multiplier"]}]'}
    plotted = {each['label']: each['value'] for panel in layout()['configById'].values()
               for each in panel.get('paths', [])}
    for label, place in wanted.items():
        assert plotted.pop(label).endswith('/' + place), label
    assert set(plotted.values()) == {f'/joint_states.velocity[{number}]' for number in range(7)}


def test_every_panel_of_the_layout_is_shown_once() -> None:
    shown: list[str] = []

    def look(node: Any) -> None:
        if isinstance(node, str):
            shown.append(node)
        else:
            look(node['first'])
            look(node['second'])
    look(layout()['layout'])
    assert sorted(shown) == sorted(layout()['configById'])
