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

"""Film of a run's policy before and after, side by side, rendered off screen by MuJoCo."""

from collections.abc import Sequence
import io
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import ImageDraw

from spaars_ros.data.files import write_whole
from spaars_ros.data.schema import Array
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.run.folder import RunFolder
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.evaluate import EVALUATION_SEED
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.tasks.protocols import TopView
from spaars_ros.tasks.scoring import episodes_from_steps

WIDTH, HEIGHT = 360, 300
"""Pixels of one of the two images."""
RATE = 10.0
"""Frames per second; the film plays in real time."""
COLOURS = 96
CLOSENESS = 0.8
"""Distance of the camera from the tip, as a fraction of the arm's reach."""
PAUSE = 8
"""Frames for which the last image of an episode is held."""
FILM = 'film.gif'

Frames = list[NDArray[np.uint8]]


def _camera(robot: Robot) -> mujoco.MjvCamera:
    """Return a camera that looks at the tip in its home pose."""
    kinematics = Kinematics(robot)
    camera = mujoco.MjvCamera()
    camera.lookat[:] = kinematics.tip(np.asarray(robot.home))
    camera.distance = CLOSENESS * kinematics.reach(robot)[1]
    camera.azimuth, camera.elevation = 130.0, -20.0
    return camera


def _mark(scene: mujoco.MjvScene, target: Array) -> None:
    """Add a marker at the target (3,) in m to the scene."""
    if scene.ngeom < scene.maxgeom and np.isfinite(target).all():
        mujoco.mjv_initGeom(scene.geoms[scene.ngeom], mujoco.mjtGeom.mjGEOM_SPHERE,
                            np.array([0.012, 0.0, 0.0]), target, np.eye(3).ravel(),
                            np.array([0.1, 0.8, 0.3, 1.0], dtype=np.float32))
        scene.ngeom += 1


def film_episodes(bundle: Bundle, folder: RunFolder, count: int, seed: int
                  ) -> tuple[list[Frames], list[bool]]:
    """Return frames (h, w, 3) and success of the first `count` episodes that `seed` gives."""
    task, robot = folder.task, folder.robot
    runtime = check_bundle(bundle, robot, task=task.name, observation_dim=task.observation_dim,
                           spec=task.spec)
    rollouts = Rollouts(runtime, robot, task, seed=seed, explore=False)
    model = rollouts.arm.model
    every = max(1, round(robot.control.rate / RATE))
    camera, target = _camera(robot), np.full(3, np.nan)
    episodes: list[Frames] = []
    won: list[bool] = []
    ticks = 0
    with mujoco.Renderer(model, HEIGHT, WIDTH) as renderer:
        def look(arm: Arm, record: Array | None) -> None:
            nonlocal ticks, target
            if record is not None and isinstance(task, TopView):
                target = np.asarray(task.target(
                    record[rollouts.schema.fields['observation']]))
            if ticks % every == 0:
                renderer.update_scene(arm.data, camera)
                _mark(renderer.scene, target)
                episodes[-1].append(renderer.render().copy())
            ticks += 1
        for _ in range(count):
            episodes.append([])
            ticks = 0
            rows = rollouts.episode(look)
            won.append(bool(episodes_from_steps(rollouts.schema, rows, task)[0]['success']))
    return episodes, won


def _labelled(frame: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, 18), fill=(255, 255, 255))
    draw.text((6, 4), text, fill=(20, 20, 20))
    return np.asarray(image)


def side_by_side(before: Sequence[Frames], after: Sequence[Frames], names: tuple[str, str],
                 won: tuple[Sequence[bool], Sequence[bool]]) -> Frames:
    """Return frames (h, 2 w, 3) of pairs of episodes; the shorter one holds its last frame."""
    film: Frames = []
    for number, pair in enumerate(zip(before, after)):
        length = max(len(frames) for frames in pair)
        for tick in range(length + PAUSE):
            halves = []
            for frames, name, wins in zip(pair, names, won):
                ended = tick >= len(frames)
                end = f': {"success" if wins[number] else "no success"}' if ended else ''
                halves.append(_labelled(frames[min(tick, len(frames) - 1)],
                                        f'{name}, episode {number + 1}{end}'))
            film.append(np.concatenate(halves, axis=1))
    return film


def to_gif(film: Frames) -> bytes:
    """Return the frames as an animated GIF that loops."""
    palette = Image.fromarray(film[0]).quantize(COLOURS)
    images = [Image.fromarray(frame).quantize(COLOURS, palette=palette,
                                              dither=Image.Dither.NONE) for frame in film]
    out = io.BytesIO()
    images[0].save(out, 'GIF', save_all=True, append_images=images[1:], loop=0,
                   duration=round(1000.0 / RATE), optimize=True)
    return out.getvalue()


def film_run(out: str, *, target: str = '', episodes: int = 3, seed: int = EVALUATION_SEED
             ) -> tuple[Path, str]:
    """
    Film a run's policy before and after on the same episodes; return the file and a summary line.

    The report shows the film if it is in the run folder.

    :param target: file to write; '': `film.gif` in the run folder
    :raises RunError: the folder holds no run
    """
    folder = RunFolder.resume(out)
    pairs = [film_episodes(load_bundle(path), folder, episodes, seed)
             for path in (folder.initial_bundle, folder.newest_bundle())]
    (before, won_before), (after, won_after) = pairs
    film = side_by_side(before, after, ('before', 'after'), (won_before, won_after))
    path = Path(target) if target else folder.path / FILM
    path.parent.mkdir(parents=True, exist_ok=True)
    data = to_gif(film)
    write_whole(path, data)
    if not target:
        _show_in_report(folder.path / 'report.html')
    return path, (f'{path}: {len(data) / 1e6:.1f} MB, {episodes} episodes; success before '
                  f'{sum(won_before)}, after {sum(won_after)}')


def _show_in_report(report: Path) -> None:
    """Add the film to the report unless it is already there."""
    if not report.exists():
        return
    text = report.read_text()
    figure = (f'<h2>Film</h2><figure><img src="{FILM}" alt="before and after" style="max-width:'
              '100%"><figcaption>The policy before and after, on the same episodes, without '
              'exploration.</figcaption></figure>')
    if f'src="{FILM}"' not in text and '</main>' in text:
        write_whole(report, text.replace('</main>', f'{figure}</main>', 1).encode())
