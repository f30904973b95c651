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

"""
Latency from image to command: simulated camera, encoder and policy server in real time.

Each is a separate process, as on a robot with stamps of the system clock. The latency begins at
the stamp of the image, which is that of the state it shows. It ends when the first command that
was computed from its features reaches a subscriber.
"""

import dataclasses
import os
from pathlib import Path
import tempfile
import time
from typing import Any

import numpy as np
from std_msgs.msg import Float64MultiArray
import yaml

from benchmarks.graph import beside
from benchmarks.stop_log import StopLog
from benchmarks.tables import write_table
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.borders import StepReader
from spaars_ros.ros.codecs import command_stamp
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.sources.features import stamp_of
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import RunSettings
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training

TASK = 'pick_camera'
SETTLE = 2.0
"""s after activation that are not counted."""
SAME = 2e-6
"""s, tolerance for the rounded stamp of a step."""
COLUMNS = ('image', 'frame to vector p50, ms', 'p99, ms', 'frame to command p50, ms', 'p99, ms',
           'images per second', 'images without a vector', 'commands')


def prepare(folder: Path, size: int) -> RunSettings:
    """Write a task with images of `size` pixels, an encoder and a bundle; return run settings."""
    # The rest needs torch, which stays in memory but does not affect the measured times.
    from spaars_ros.learning.encoder.network import PointNet
    from spaars_ros.learning.online.pretrain import untrained_bundle
    (folder / 'eye.onnx').write_bytes(PointNet(size, 16).to_onnx())
    settings = load_task(TASK)
    content = settings.model_dump(mode='json', exclude_none=True)
    for source in content['sources']:
        if 'camera' in source:
            source['camera'].update(size=[size, size], encoder=str(folder / 'eye.onnx'))
            source['max_age'] = 1.0  # late images must be measured, and not stop
    (folder / 'task.yaml').write_text(yaml.safe_dump(content))
    robot = load_robot(settings.robot)
    task = make_task(robot, load_task(str(folder / 'task.yaml')))
    save_bundle(untrained_bundle(robot, task, load_training()), folder / 'initial.spaars')
    return RunSettings(out=str(folder), robot=settings.robot, task=str(folder / 'task.yaml'),
                       episodes=0, real_time_factor=1.0, use_sim_time=False, explore=False,
                       namespace=f'bench_{os.getpid()}')


class _Ears:
    """Arrival times of features and commands, and the features behind each command."""

    def __init__(self, node: Any, features: str) -> None:
        self.vectors: dict[int, float] = {}
        self.commands: dict[int, float] = {}
        self.seen: list[tuple[float, float]] = []
        """Stamp in s and age of the features in s, per step."""
        self._reader = StepReader()
        node.create_subscription(Float64MultiArray, features, self._on_vector, 10)
        node.create_subscription(Float64MultiArray, 'command', self._on_command, QOS['command'])
        node.create_subscription(Float64MultiArray, 'policy_server/step', self._on_step,
                                 QOS['policy_server/step'])

    def _on_vector(self, msg: Float64MultiArray) -> None:
        self.vectors.setdefault(stamp_of(msg), time.time())

    def _on_command(self, msg: Float64MultiArray) -> None:
        stamp = command_stamp(msg)
        if stamp is not None:
            self.commands.setdefault(stamp, time.time())

    def _on_step(self, msg: Float64MultiArray) -> None:
        schema, row = self._reader.read(msg)
        if int(schema.get(row, 'flag')) == Flag.RUNNING:
            # The camera is the last source of the task.
            self.seen.append((float(schema.get(row, 'stamp')),
                              float(np.atleast_1d(row[schema.fields['ages']])[-1])))


def _times(ears: _Ears, after: float) -> tuple[Array, Array]:
    """Return the latencies in s from image to features, and from image to command."""
    vectors = [came - stamp * 1e-9 for stamp, came in ears.vectors.items() if came > after]
    stamps = np.array(sorted(ears.commands))
    found = []
    for stamp, age in ears.seen:
        place = int(np.searchsorted(stamps, round((stamp - SAME) * 1e9)))
        if place < len(stamps) and abs(stamps[place] * 1e-9 - stamp) < SAME:
            came = ears.commands[int(stamps[place])]
            if came > after:
                found.append(came - stamp + age)
    return np.asarray(vectors), np.asarray(found)


def measure(size: int, seconds: float) -> dict[str, Any]:
    """Return the latencies for one image size; raises LifecycleError, RuntimeError."""
    with tempfile.TemporaryDirectory(prefix='spaars_bench_') as name:
        settings = prepare(Path(name), size)
        graph = [dataclasses.replace(node, parameters={
            **node.parameters, **({'stamps': 'system'} if node.name == 'sim' else {}),
            **({'provider': 'cpu'} if node.name == 'encoder' else {})})
            for node in describe(settings, learner=False)]
        task = make_task(load_robot(settings.robot), load_task(settings.task))
        camera = next(one for one in task.settings.sources if one.camera is not None)
        with beside(settings, graph, 'eyes') as here:
            log = StopLog(here.node, go_on=True)
            ears = _Ears(here.node, camera.on)
            here.bring_up(graph)
            begin = time.time()
            while time.time() < begin + SETTLE + seconds:
                here.executor.spin_once(timeout_sec=0.02)
                log.tend()
                here.alive()
    vectors, commands = _times(ears, begin + SETTLE)
    spans = sorted(stamp for stamp, came in ears.vectors.items() if came > begin + SETTLE)
    whole = (spans[-1] - spans[0]) * 1e-9 if len(spans) > 1 else float('nan')
    return {'size': size, **{f'{what}_{share}_ms': 1e3 * float(np.percentile(values, number))
                             if len(values) else float('nan')
                             for what, values in (('vector', vectors), ('command', commands))
                             for share, number in (('p50', 50), ('p99', 99))},
            'images_per_second': (len(spans) - 1) / whole,
            'images_lost': max(round(whole / 0.05) + 1 - len(spans), 0),
            'commands': len(commands), 'stops': log.stops}


def run(*, seconds: float = 30.0, sizes: tuple[int, ...] = (84, 224), tables: bool = False
        ) -> dict[str, Any]:
    """
    Measure each image size for `seconds`; return the result that `--json` writes.

    :param sizes: width and height of the images in pixels
    :param tables: also write the table of the documentation
    """
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rows = [measure(size, seconds) for size in sizes]
    load = f'{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end'
    if tables:
        write_table('camera', COLUMNS, [[
            f'{row["size"]} x {row["size"]}',
            *(f'{row[name]:.1f}' for name in ('vector_p50_ms', 'vector_p99_ms', 'command_p50_ms',
                                              'command_p99_ms', 'images_per_second')),
            row['images_lost'], row['commands']] for row in rows],
            command=f'spaars bench camera --seconds {seconds:g} --tables', seeds=[],
            note='20 Hz; drawn by OSMesa or EGL on the same machine; the server ticks on its own '
                 f'timer, so that a command is up to 50 ms behind its vector; {load}')
    return {'rows': rows, 'seconds': seconds, 'rate': 20.0, 'load': load}
