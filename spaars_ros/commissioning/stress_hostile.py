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

"""Invalid bundles and messages that `spaars stress` sends."""

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from onnx import helper
from onnx import ModelProto
from onnx import numpy_helper
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import MultiArrayDimension
from std_msgs.msg import MultiArrayLayout

from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.ros.borders import StepReader
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.qos import QOS

if TYPE_CHECKING:
    from spaars_ros.commissioning.stress_rig import StressRig

AHEAD = 40
"""Versions; the learner of the run does not reach this version while the fault lasts."""
NEAR = 0.05
"""Of a normalised observation: the arm reaches it within seconds, or is there."""
HEARD = ('policy_server/step', 'learner/progress', 'learner/fetch', 'cost_monitor/cost',
         'cost_monitor/multiplier')


def nothing_to_end() -> None:
    """End nothing: the fault ends without help."""


def truncated_bundle(rig: 'StressRig') -> Callable[[], None]:
    """Send half a bundle."""
    data = rig.run.newest_bundle().read_bytes()
    rig.publish_bundle(data[:len(data) // 2])
    return nothing_to_end


def _renumbered(bundle: Bundle, version: int) -> Bundle:
    return Bundle(bundle.manifest.model_copy(update={'version': version}), bundle.graphs,
                  bundle.golden_outputs)


def far_bundle(rig: 'StressRig') -> Callable[[], None]:
    """Send a bundle with a version after which every other would be old."""
    bundle = load_bundle(rig.run.newest_bundle())
    rig.publish_bundle(_renumbered(bundle, 2**53).to_bytes())
    return nothing_to_end


def raising_bundle(rig: 'StressRig') -> Callable[[], None]:
    """Send a bundle whose network raises near the arm, but not at its golden outputs."""
    bundle = load_bundle(rig.run.newest_bundle())
    m = bundle.manifest
    first = bundle.golden_outputs['observation'][:, 0]
    shown = (first - m.observation_mean[0]) / m.observation_std[0]
    if not rig.until(lambda: bool(rig.watch.samples), 3.0):
        return nothing_to_end
    here = (rig.watch.samples[-1].position[0] - m.observation_mean[0]) / m.observation_std[0]
    beyond = float(max(here + NEAR, np.min(shown) + NEAR))
    golden_outputs = {name: values[shown < beyond - NEAR / 2]
                for name, values in bundle.golden_outputs.items()}
    rig.publish_bundle(raises_beyond(Bundle(m, bundle.graphs, golden_outputs), beyond,
                                     m.version + AHEAD).to_bytes())
    return nothing_to_end


def raises_beyond(bundle: Bundle, beyond: float, version: int) -> Bundle:
    """Return a bundle whose network raises if the first normalised observation > `beyond`."""
    model = ModelProto.FromString(bundle.graphs['policy'])
    for node in model.graph.node:
        node.output[:] = ['free_raw' if name == 'raw_action' else name for name in node.output]
        node.input[:] = ['free_raw' if name == 'raw_action' else name for name in node.input]
    for name, values in (('begin', np.array([0])), ('end', np.array([1])),
                         ('axis', np.array([1])), ('beyond', np.float32(beyond)),
                         ('steep', np.float32(1000.0)), ('ten', np.array(10)),
                         ('nothing', np.zeros(1, np.float32))):
        model.graph.initializer.append(
            numpy_helper.from_array(np.asarray(values), f'fail_{name}'))
    for kind, inputs, output in (
            ('Slice', ['observation', 'fail_begin', 'fail_end', 'fail_axis'], 'fail_x'),
            ('Sub', ['fail_x', 'fail_beyond'], 'fail_over'),
            ('Mul', ['fail_over', 'fail_steep'], 'fail_power'),
            # A power of integers is an integer: 0 below, an invalid index above.
            ('Pow', ['fail_ten', 'fail_power'], 'fail_index'),
            ('Gather', ['fail_nothing', 'fail_index'], 'fail_add'),
            ('Add', ['free_raw', 'fail_add'], 'raw_action')):
        model.graph.node.append(helper.make_node(kind, inputs, [output]))
    changed = _renumbered(bundle, version)
    return Bundle(changed.manifest, {'policy': model.SerializeToString()}, changed.golden_outputs)


def empty_messages(rig: 'StressRig') -> Callable[[], None]:
    """Send layouts with fields of size 0, no layout at all, and NaN, on every topic of arrays."""
    publishers = [rig.node.create_publisher(Float64MultiArray, topic, QOS[topic])
                  for topic in HEARD]
    rig.spin(0.3)
    for publisher in publishers:
        fields = [MultiArrayDimension(label=name, size=0, stride=0)
                  for name in ('sequence', 'episode', 'received', 'multiplier')]
        publisher.publish(Float64MultiArray(layout=MultiArrayLayout(dim=fields)))
        publisher.publish(Float64MultiArray())
        publisher.publish(Float64MultiArray(data=array('d', [float('nan')] * 40)))

    def end() -> None:
        for publisher in publishers:
            rig.node.destroy_publisher(publisher)
    return end


def forged_cost(rig: 'StressRig') -> Callable[[], None]:
    """Send costs of 1e6: of an unknown episode, of episode 2^53, and of episode -1."""
    topic = 'cost_monitor/cost'
    constraints = len(rig.run.robot.constraints)
    codec = ArrayCodec({'sequence': 1, 'episode': 1, 'ended': 1, 'valid': 1,
                        **dict.fromkeys(('cost', 'episode_cost', 'discounted_cost'),
                                        constraints)})
    publisher = rig.node.create_publisher(Float64MultiArray, topic, QOS[topic])
    rig.spin(0.3)
    much = np.full(constraints, 1e6)
    for sequence, episode in ((2.0**53, 2.0**53), (rig.watch.newest + 10**6, 10.0**6),
                              (-1.0, -1.0)):
        publisher.publish(codec.encode_fields(
            sequence=sequence, episode=episode, ended=0.0, valid=1.0, cost=much,
            episode_cost=much, discounted_cost=much))

    def end() -> None:
        rig.node.destroy_publisher(publisher)
    return end


def forged_steps(rig: 'StressRig') -> Callable[[], None]:
    """Send the newest step again: flag 7, observations of 1e308, another action, index 2^53."""
    seen = rig.watch.step_message
    if seen is None:
        return nothing_to_end
    schema, row = StepReader().read(seen)
    publisher = rig.node.create_publisher(Float64MultiArray, 'policy_server/step',
                                          QOS['policy_server/step'])
    rig.spin(0.3)
    for name, value in (('flag', 7.0), ('observation', 1e308), ('action', 0.5), ('index', 2**53)):
        changed = row.copy()
        changed[schema.fields[name]] = value
        publisher.publish(Float64MultiArray(layout=seen.layout,
                                            data=array('d', changed.tobytes())))

    def end() -> None:
        rig.node.destroy_publisher(publisher)
    return end
