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

"""Every control of the operator's page, used in a real browser beside a run."""

from collections.abc import Iterator
from pathlib import Path
import re
import shutil
import signal
import subprocess
import time
from typing import Any

from domains import DOMAINS
from finetune_run import Run
import numpy as np
from page_run import page_of
from page_run import shown
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from sensor_msgs.msg import Joy
from small_run import prepare

from spaars_ros.data.demonstrations import run_steps
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.ros.qos import QOS

viser = pytest.importorskip('viser', reason="the extra 'page' is not installed")
playwright = pytest.importorskip('playwright.sync_api', reason='no playwright')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = [pytest.mark.timeout(400), pytest.mark.long,  # two to four minutes on two cores
              pytest.mark.skipif(CHROMIUM is None, reason='no chromium: apt install chromium')]

DRAWN = ['--no-sandbox', '--disable-gpu', '--use-gl=angle', '--use-angle=swiftshader',
         '--enable-unsafe-swiftshader']
PATIENCE = 60.0
WIDTH, HEIGHT = 1000, 900
# A browser that draws in software takes the cores that the arm's ticks need: what the load does to
# them is tested elsewhere, this tests the page.
PARAMETERS = """
/policy_server:
  ros__parameters:
    overruns: 0
    late: 0
    out_of_order: 0
    cost_monitor: 'off'
    max_observation_age: 20.0
    person_age: 5.0
    person_lost: 0.0
"""


class Browser:
    """A browser at the page of a run."""

    def __init__(self, page: Any, token: str, out: Path, domain: int) -> None:
        self.page, self.token, self.out = page, token, out
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node('beside_the_page', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._joints: dict[str, float] = {}
        self._node.create_subscription(
            JointState, 'joint_states',
            lambda msg: self._joints.update(zip(msg.name, msg.position)), QOS['joint_states'])
        self._joy = self._node.create_publisher(Joy, 'joy', QOS['joy'])
        self._robot = load_robot()
        self._kinematics = Kinematics(self._robot)

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def picture(self, name: str) -> None:
        """Keep a screenshot beside the run, for who looks at what failed."""
        self.page.screenshot(path=str(self.out / f'{name}.png'))

    def click(self, button: str, place: int = 0) -> None:
        self.page.get_by_role('button', name=button, exact=True).nth(place).click()

    def field(self, label: str) -> Any:
        """Return the input beside a label, which viser does not tie to it."""
        return self.page.locator(
            f'xpath=//label[normalize-space(.)="{label}"]/ancestor::p/parent::div'
            '/following-sibling::*//input').first

    def sees(self, text: str | re.Pattern[str], seconds: float = PATIENCE) -> str:
        """Wait for a text; return what stands there."""
        found = self.page.get_by_text(text).first
        found.wait_for(timeout=1e3 * seconds)
        return str(found.text_content())

    def open(self, folder: str) -> None:
        self.page.get_by_text(folder, exact=True).first.click()

    def may_move(self) -> bool:
        return bool(self.page.get_by_text('This browser may move the arm.').count())

    def log_in(self) -> None:
        if not self.may_move():
            self.field('Token').fill(self.token)
            self.sees('This browser may move the arm.')

    def runs(self) -> None:
        """Have the arm run, whatever a test before left."""
        self.log_in()
        if self.stopped.count():
            self.click('Reset after a stop')
            self.stopped.wait_for(state='hidden')

    @property
    def stopped(self) -> Any:
        return self.page.get_by_role('heading', name='STOPPED')

    def tip(self) -> Any:
        """Return where the tip is now (3,) m."""
        end = time.monotonic() + 10.0
        self._joints.clear()
        while len(self._joints) < len(self._robot.joints):
            assert time.monotonic() < end, 'no joint_states'
            self._executor.spin_once(timeout_sec=0.05)
        return self._kinematics.tip(np.array([self._joints[name] for name in self._robot.joints]))

    def brake(self, held: bool) -> None:
        """Hold another dead man's switch, without a command: the arm stands; or let it go."""
        while not self._joy.get_subscription_count():
            self._executor.spin_once(timeout_sec=0.05)
        for value in (False, held):
            for _ in range(3):
                joy = Joy(axes=[0.0] * 6, buttons=[int(value and button == 4)
                                                   for button in range(8)])
                joy.header.frame_id = 'another'
                self._joy.publish(joy)
                self.page.wait_for_timeout(50)

    def pixel(self, point: Any) -> tuple[float, float]:
        """Return where a browser that has just come sees a point (3,) m."""
        centre, reach = self._kinematics.reach(self._robot)
        eye = centre + reach * np.array([1.1, 1.1, 0.7])
        ahead = centre + np.array([0.25 * reach, 0.0, 0.1 * reach]) - eye
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        up = np.cross(right, ahead)
        seen = point - eye
        box = self.page.locator('canvas').first.bounding_box()
        scale = 0.5 * box['height'] / np.tan(0.5 * viser_fov()) / (seen @ ahead)
        return (box['x'] + 0.5 * box['width'] + scale * (seen @ right),
                box['y'] + 0.5 * box['height'] - scale * (seen @ up))


def viser_fov() -> float:
    """Return the vertical field of view of viser's camera, rad."""
    return float(np.deg2rad(75.0))


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, int]]:
    folder = tmp_path_factory.mktemp('browser')
    (folder / 'params.yaml').write_text(PARAMETERS)
    domain = next(DOMAINS)
    made = Run(prepare(folder / 'small'), folder / 'run', '--page', '--episodes', '0',
               '--real-time-factor', '0.5', '--params-file', str(folder / 'params.yaml'),
               ROS_DOMAIN_ID=str(domain))
    yield made, domain
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.fixture(scope='module')
def browser(run: tuple[Run, int]) -> Iterator[Browser]:
    made, domain = run
    port, token, _ = page_of(made)
    shown(made, 1)
    with playwright.sync_playwright() as browsers:
        chromium = browsers.chromium.launch(executable_path=CHROMIUM, args=DRAWN)
        page = chromium.new_page(viewport={'width': WIDTH, 'height': HEIGHT})
        page.set_default_timeout(1e3 * PATIENCE)  # it draws without a graphics card
        page.goto(f'http://127.0.0.1:{port}')
        at = Browser(page, token, made.out.parent, domain)
        at.sees('policy server: heard')
        yield at
        at.close()
        chromium.close()


def test_anybody_stops_the_arm_and_only_the_token_lets_it_go_on(browser: Browser) -> None:
    assert browser.page.locator('canvas').count() >= 1
    browser.picture('first')
    browser.open('Limits')  # the panel is longer than the window now
    browser.page.get_by_text('max_episode_cost to').scroll_into_view_if_needed()
    stop = browser.page.get_by_role('button', name='STOP REQUEST', exact=True)
    boxes = [stop.nth(place).bounding_box() for place in range(stop.count())]
    browser.picture('scrolled')
    assert any(box is not None and box['y'] >= 0.0 for box in boxes), 'the stop scrolled away'
    browser.open('Limits')
    browser.click('STOP REQUEST')
    browser.sees('ESTOP')
    browser.click('Reset after a stop')
    browser.sees("Needs the run's token")
    assert browser.stopped.is_visible()
    browser.field('Token').fill('wrong')
    browser.click('Reset after a stop')
    assert not browser.may_move()
    browser.log_in()
    browser.click('Reset after a stop')
    browser.sees('Reset after a stop: running')
    browser.stopped.wait_for(state='hidden')
    browser.picture('going')


def test_each_limit_is_set_and_read_back_and_nonsense_is_refused(browser: Browser) -> None:
    browser.runs()
    browser.open('Limits')
    labels = browser.page.get_by_text(re.compile(r'^Limit of ')).count()
    names = ['cost_limit', *(f'{each.name}.cost_limit' for each in load_robot().constraints[1:]),
             'stop_cost', 'max_episode_cost']
    assert labels == len(names) - 2
    for place, name in enumerate(names):
        value = 20.5 + place
        browser.field(f'{name} to').fill(str(value))
        browser.click(f'Set {name}')
        browser.sees(f'{name}: {name} is set to {value:g}')
        browser.sees(re.compile(f': {value:g}$'))
    browser.picture('limits')
    for wrong, said in (('much', 'expected a number from 0'), ('-1', 'expected a number from 0'),
                        ('1e30', 'REFUSED')):
        browser.field('stop_cost to').fill(wrong)
        browser.click('Set stop_cost')
        browser.sees(said)
    for name in ('stop_cost', 'max_episode_cost'):
        browser.field(f'{name} to').fill('0')
        browser.click(f'Set {name}')
        browser.sees(f'{name}: {name} is set to 0')
    browser.open('Limits')


def test_learning_is_paused_and_goes_on(browser: Browser) -> None:
    browser.runs()
    browser.click('Pause')
    browser.sees('Learning: PAUSED')
    before = browser.sees(re.compile(r'updates, PAUSED'))
    browser.picture('paused')
    browser.page.wait_for_timeout(4000)
    after = browser.sees(re.compile(r'updates, PAUSED'))
    count = [int(re.search(r'(\d+) updates', text)[1]) for text in (before, after)]
    assert count[0] == count[1]
    browser.click('Go on')
    browser.sees('Learning: goes on')
    browser.sees(re.compile(r'updates, \d+ owed'))


def test_the_budget_is_set_and_read_back(browser: Browser) -> None:
    browser.runs()
    for word in ('hold', 'off', 'warn'):
        browser.click(word)
        browser.sees(f'Budget: {word}')


def test_a_policy_is_rolled_back_or_the_reason_is_said(browser: Browser) -> None:
    browser.runs()
    browser.sees(re.compile(r'Policy version [2-9]'), 120.0)
    browser.click('Roll back the policy')
    browser.sees(re.compile(r'version \d+ was taken back'))


def test_an_episode_is_judged(browser: Browser) -> None:
    browser.runs()
    browser.open('Judge the episode')
    for button, word in (('Success', 'success'), ('Failure', 'failure'), ('Discard', 'discard')):
        browser.click(button)
        browser.sees(re.compile(f'^{button}: episode \\d+ .*{word}'))
    browser.click('Put back: ready')
    browser.sees(re.compile('^Put back: ready'))
    browser.picture('judged')
    browser.open('Judge the episode')


def test_the_arm_is_moved_home(browser: Browser) -> None:
    browser.runs()
    browser.open('Take over')
    browser.click('Move home')
    browser.sees('You drive: home')
    browser.page.get_by_text('You drive: home').wait_for(state='hidden', timeout=90_000)


def test_the_handle_moves_the_tip_while_it_is_held(browser: Browser) -> None:
    browser.runs()
    if not browser.page.get_by_role('button', name='Move home').is_visible():
        browser.open('Take over')
    browser.field('Handle on the tip').check()
    browser.page.wait_for_timeout(1000)
    mouse, driven = browser.page.mouse, browser.page.get_by_text('You drive: handle')
    browser.brake(True)
    for _ in range(4):
        # Beside the handle the mouse turns the view.
        browser.page.locator('button', has_text='Reset View').first.evaluate('e => e.click()')
        browser.page.wait_for_timeout(2000)
        tip = browser.tip()
        mouse.move(*browser.pixel(tip + [0.13, 0.0, 0.0]))
        mouse.down()
        for step in range(24):
            mouse.move(*browser.pixel(tip + [0.14 + 0.01 * (step % 12), 0.0, 0.0]), steps=2)
            browser.page.wait_for_timeout(150)
            if driven.count():
                break
        else:
            mouse.up()
            continue
        break
    else:
        browser.picture('not_grasped')
        pytest.fail('the handle was not grasped')
    browser.brake(False)  # from here on the page's own switch holds the arm
    before = browser.tip()
    for step in range(60):
        mouse.move(*browser.pixel(before + [0.25 + 0.01 * (step % 2), 0.0, 0.0]), steps=2)
        browser.page.wait_for_timeout(150)
        if browser.tip()[0] - before[0] > 0.02:
            break
    else:
        browser.picture('not_followed')
        pytest.fail(f'the tip did not follow: {before} -> {browser.tip()}')
    mouse.up()
    driven.wait_for(state='hidden', timeout=30_000)


def test_the_run_ends_with_what_people_did_in_its_record(
        run: tuple[Run, int], browser: Browser) -> None:
    made, _ = run
    made.process.send_signal(signal.SIGINT)
    try:
        assert made.wait(90) == 0, made.text
    except subprocess.TimeoutExpired:
        raise AssertionError(made.text) from None
    schema, rows = run_steps(made.out)
    assert (schema.get(rows, 'mode') == Mode.HUMAN).sum() > 20
    said = {int(outcome) for outcome in schema.get(rows, 'outcome')}
    assert said & {Outcome.SUCCESS, Outcome.FAILURE, Outcome.DISCARDED}
