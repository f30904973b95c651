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
Rubbish from outside: every loader and codec raises its own error or reads what is there.

Nothing else may happen: no other exception, no execution, no memory beyond what was sent. A few
seconds by default; `./run test long` tries 100,000 of each, within its budget, and logs the seed.
"""

from array import array
from collections.abc import Callable
import hashlib
import io
import json
import os
from pathlib import Path
import random
import shutil
import struct
import subprocess
import sys
from typing import Any
import zipfile

from at_length import LONG
from at_length import SEED
from at_length import tries
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import MultiArrayDimension
from std_msgs.msg import MultiArrayLayout

from spaars_ros.data import cdr
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import read_spool
from spaars_ros.data.spool import Spool
from spaars_ros.data.spool import SpoolError
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.arrays import ArrayError
from spaars_ros.policy.arrays import read_arrays
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import DIGEST
from spaars_ros.policy.bundle import MAGIC
from spaars_ros.policy.bundle import Manifest
from spaars_ros.policy.graph import check_graph
from spaars_ros.policy.graph import GraphError
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.policy.runtime import OUTPUTS
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import command_stamp
from spaars_ros.ros.codecs import decode_command
from spaars_ros.ros.codecs import decode_range
from spaars_ros.ros.codecs import step_schema
from spaars_ros.ros.joint_states import JointStateReader
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training

pytestmark = [pytest.mark.timeout(4 * 3600 if LONG else 120),
              *([pytest.mark.long] if LONG else [])]

ROBOT = load_robot()
TASK = ReachTask(ROBOT, load_task())
SCHEMA = StepSchema(observation=3, latent=2, action=2)
WHOLE = untrained_bundle(ROBOT, TASK, load_training('spaars', width=8, heads=2), seed=1)
DATA = WHOLE.to_bytes()
ZEROS = 64 * 2**20
"""bytes that pack to next to nothing."""


PIECES = (b'\xff' * 4, bytes(4), b'\xff\xff\xff\x7f', b'\0\0\0\x80')


def damage(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with some flipped, cut out, inserted or overwritten, or cut short."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, max(len(out) - 1, 0))
        kind = rng.choice(('flip', 'cut', 'insert', 'number', 'end'))
        if kind == 'flip' and out:
            out[place] ^= 1 << rng.randint(0, 7)
        elif kind == 'cut':
            del out[place:place + rng.randint(1, 20)]
        elif kind == 'insert':
            out[place:place] = rng.randbytes(rng.randint(1, 20))
        elif kind == 'number':
            out[place:place + 4] = rng.choice(PIECES)
        else:
            del out[place:]
    return bytes(out)


NUMBERS = st.integers(0, 2**63 - 1)
"""Each stands for one damage: drawn byte by byte it took most of the time."""


def damage_of(data: bytes, number: int) -> bytes:
    """Return the damaged form that a number stands for."""
    return damage(data, random.Random(number))


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """Return damaged forms of little data: hypothesis keeps all that it has drawn."""
    assert len(data) < 10_000, 'draw one of NUMBERS'
    return NUMBERS.map(lambda number: damage_of(data, number))


def sealed(body: bytes) -> bytes:
    """Return a body with the digest that it needs to be looked at."""
    return body + hashlib.sha256(body).digest()


def assembled(header: Any, parts: bytes = b'') -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return sealed(MAGIC + len(text).to_bytes(8, 'little') + text + parts)


def taken(data: bytes) -> bool:
    """Return whether a server would run this; all that may be raised is BundleError."""
    try:
        bundle = Bundle.from_bytes(data)
        check_bundle(bundle, ROBOT, task='reach', observation_dim=TASK.observation_dim)
    except BundleError as error:
        # It is published: every message and every log has to be able to carry it.
        text = str(error)
        assert text.isprintable() and text.isascii() and len(text) < 5000
        return False
    return True


# Bundles

@tries(100)
@given(st.binary(max_size=400))
def test_random_bytes_are_no_bundle(data: bytes) -> None:
    assert not taken(data)
    assert not taken(MAGIC + data)
    assert not taken(sealed(MAGIC + data))


@tries(100)
@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_a_header_of_random_bytes_is_refused(text: bytes, size: int) -> None:
    assert not taken(assembled(text))
    assert not taken(sealed(MAGIC + size.to_bytes(8, 'little') + text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.floats() | st.text(max_size=10)
    | st.sampled_from([10**400, '\ud800', '\0', 2**31, -1, 0, 1e308]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=4), max_leaves=10)


@tries(150)
@given(JSON)
def test_a_header_of_any_json_is_refused(header: Any) -> None:
    assert not taken(assembled(header))
    assert not taken(assembled({'manifest': header, 'parts': []}))
    assert not taken(assembled({'manifest': {}, 'parts': header}))
    assert not taken(assembled({'manifest': {}, 'parts': [{'name': 'a', 'size': header}]}))


@tries(150)
@given(st.sampled_from(sorted(Manifest.model_fields)), JSON)
def test_a_manifest_with_any_value_anywhere_is_taken_or_refused(field: str, value: Any) -> None:
    start = len(MAGIC) + 8
    end = start + int.from_bytes(DATA[len(MAGIC):start], 'little')
    header = json.loads(DATA[start:end])
    header['manifest'][field] = value
    taken(assembled(header, DATA[end:-DIGEST]))


@tries(120)
@given(NUMBERS)
def test_a_damaged_bundle_with_a_right_digest_is_taken_or_refused(number: int) -> None:
    taken(sealed(damage_of(DATA[:-DIGEST], number)))


def arrays_of(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@tries(300)
@given(damaged(arrays_of(a=np.ones((3, 2), np.float32), b=np.zeros(4))))
def test_damaged_golden_outputs_are_read_or_refused(data: bytes) -> None:
    try:
        arrays = read_arrays(data)
    except ArrayError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= len(data)


def test_golden_outputs_come_back_in_every_layout() -> None:
    wanted = {'c': np.arange(6.0).reshape(2, 3), 'f': np.asfortranarray(np.eye(3)[:2]),
              'one': np.ones(5, np.float32), 'none': np.zeros((0, 4)), 'scalar': np.float32(2.0)}
    got = read_arrays(arrays_of(**wanted))
    assert got.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(got[name], values)


@pytest.mark.parametrize('array', [
    np.array([{'a': 1}], dtype=object), np.array(['text']), np.ones(2, np.complex64),
    np.ones(2, '>f4'), np.array([(1, 2.0)], dtype=[('a', 'i4'), ('b', 'f4')])])
def test_golden_outputs_of_another_type_are_refused(array: Any) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=array)  # object arrays are pickled here
    with pytest.raises(ArrayError):
        read_arrays(buffer.getvalue())


def test_a_pickled_golden_output_runs_nothing(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / 'ran',)

    for data in (arrays_of(a=np.array([Trap()], dtype=object)),):
        with pytest.raises(ArrayError):
            read_arrays(data)
    assert not (tmp_path / 'ran').exists()


# Graphs and sizes: in a process of its own with a limit on its memory

def model(nodes: list[Any], weights: list[TensorProto], functions: list[Any] | None = None
          ) -> bytes:
    """Return a model with the policy's inputs and outputs; the nodes compute latent."""
    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)

    others = [helper.make_node('Identity', ['trust'], [name])
              for name in OUTPUTS if name != 'latent']
    graph = helper.make_graph(
        [*nodes, *others], 'g', [info(name) for name in ('observation', 'noise', 'trust')],
        [info(name) for name in OUTPUTS], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)],
                             functions=functions or [])
    made.ir_version = 8
    return bytes(made.SerializeToString())


def weights(name: str, array: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def external(location: str) -> bytes:
    tensor = weights('w', np.ones(4, np.float32))
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value=location)
    return model([helper.make_node('Add', ['w', 'trust'], ['latent'])], [tensor])


def absurd(*dims: int) -> bytes:
    tensor = TensorProto(name='w', data_type=TensorProto.FLOAT, dims=dims, raw_data=b'1234')
    return model([helper.make_node('Add', ['w', 'trust'], ['latent'])], [tensor])


def looping() -> bytes:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node('Identity', ['go'], ['go_on'])], 'body',
        [info('i', TensorProto.INT64, []), info('go', TensorProto.BOOL, [])],
        [info('go_on', TensorProto.BOOL, [])])
    return model([helper.make_node('Loop', ['n', ''], [], body=body),
                  helper.make_node('Identity', ['trust'], ['latent'])],
                 [weights('n', np.int64(2**62))])


def numbered(number: int, content: bytes) -> bytes:
    """Return a protobuf field with its length."""
    out, size = bytearray([number << 3 | 2]), len(content)
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes(out) + bytes([size]) + content


def crowd(field: int) -> bytes:
    return numbered(7, numbered(field, b'') * 4_000_000)


def doubled(times: int) -> bytes:
    nodes = [helper.make_node('Concat', [f'x{i}', f'x{i}'], [f'x{i + 1}'], axis=0)
             for i in range(times)]
    return model([helper.make_node('Add', ['trust', 'w'], ['x0']), *nodes,
                  helper.make_node('Identity', [f'x{times}'], ['latent'])],
                 [weights('w', np.ones(1, np.float32))])


def broadcast() -> bytes:
    side = 100_000
    return model([helper.make_node('Add', ['a', 'b'], ['c']),
                  helper.make_node('Add', ['c', 'trust'], ['latent'])],
                 [weights('a', np.ones((side, 1), np.float32)),
                  weights('b', np.ones((1, side), np.float32))])


def filled() -> bytes:
    return model([helper.make_node('ConstantOfShape', ['n'], ['latent'])],
                 [weights('n', np.array([2**20, 2**20], np.int64))])


def foreign() -> bytes:
    return model([helper.make_node('PythonOp', ['trust'], ['latent'], domain='com.example')], [])


GRAPHS: dict[str, Callable[[], bytes]] = {
    'weights in a file beside it': lambda: external('secret.bin'),
    'weights in any file': lambda: external('/etc/hostname'),
    'weights that claim terabytes': lambda: absurd(2**20, 2**20),
    'weights of negative size': lambda: absurd(-1, -1),
    'weights whose size overflows': lambda: absurd(2**62, 4),
    'a loop that does not end': looping,
    'millions of empty nodes': lambda: crowd(1),
    'millions of empty weights': lambda: crowd(5),
    'millions of empty inputs': lambda: crowd(11),
    'greedy, doubling forty times': lambda: doubled(40),
    'greedy, weights that broadcast to 40 GB': broadcast,
    'a constant of terabytes': filled,
    'an operator of somebody else': foreign,
}


def npz(header: bytes, content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an .npz with one member whose .npy header is given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', method) as archive:
        archive.writestr('a.npy', b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header
                         + content)
    return buffer.getvalue()


def claimed(shape: str) -> bytes:
    return f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def lying(data: bytes) -> bytes:
    """Return the archive with small sizes in its directory."""
    place = data.rindex(b'PK\x01\x02')
    return data[:place + 24] + struct.pack('<I', 100) + data[place + 28:]


def many_members() -> bytes:
    """Return an archive of a hundred thousand entries that all show to one place."""
    entry = struct.pack('<4s6H3I5H2I', b'PK\x01\x02', 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
                        0, 0) + b'a'
    count = 80_000
    end = struct.pack('<4s4H2IH', b'PK\x05\x06', 0, 0, count & 0xffff, count & 0xffff,
                      len(entry) * count, 0, 0)
    return entry * count + end


GOLDEN: dict[str, Callable[[], bytes]] = {
    'an array that claims gigabytes': lambda: npz(claimed('(100000, 100000)'), b'1234'),
    'an array that claims more than all': lambda: npz(claimed(f'({2**62}, {2**62})'), b''),
    'zeros that unpack to megabytes': lambda: npz(
        claimed(f'({ZEROS // 4},)'), bytes(ZEROS), zipfile.ZIP_DEFLATED),
    'zeros in bzip2': lambda: npz(
        claimed(f'({ZEROS // 4},)'), bytes(ZEROS), zipfile.ZIP_BZIP2),
    'zeros in xz': lambda: npz(
        claimed(f'({ZEROS // 4},)'), bytes(ZEROS), zipfile.ZIP_LZMA),
    'a directory that lies about zeros': lambda: lying(npz(
        claimed(f'({ZEROS // 4},)'), bytes(ZEROS), zipfile.ZIP_DEFLATED)),
    'a directory that lies about bzip2': lambda: lying(npz(
        claimed(f'({ZEROS // 4},)'), bytes(ZEROS), zipfile.ZIP_BZIP2)),
    'a crowd of members': many_members,
    'a header that is a program': lambda: npz(b"__import__('os').abort()\n", b''),
    'a header that nests deeply': lambda: npz(b'(' * 60_000, b''),
}
HEADERS: dict[str, Callable[[], bytes]] = {
    'lists that nest deeply': lambda: b'[' * 900_000,
    'a header of many megabytes': lambda: b'[' + b'[],' * 4_000_000 + b'[]]',
    'a number of a million digits': lambda: b'{"manifest": ' + b'9' * 900_000 + b'}',
}

CHILD = """
import resource, sys
from pathlib import Path
from test_fuzz import taken

def peak(reset=False):
    if reset:
        Path('/proc/self/clear_refs').write_text('5')
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith('VmHWM'))

limit = 3 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    before = peak(reset=True)
    said = taken(data)
    assert CHECK, path.name
    grown = peak() - before - 3 * len(data) // 2**20
    # What is only seen when it runs may grow to the arena.
    assert grown < (300 if 'greedy' in path.name else 40), f'{path.name}: {grown} MiB more'
    sys.stdout.write(f'{path.name}: {grown} MiB\\n')
"""


def in_a_process_of_its_own(folder: Path, check: str) -> str:
    """Offer every file to `taken` under a memory limit; return what it said."""
    done = subprocess.run(
        [sys.executable, '-c', CHILD.replace('CHECK', check), str(folder)], cwd=folder.parent,
        capture_output=True, text=True, timeout=3000 if LONG else 100,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join((
            str(Path(__file__).parent), str(Path(__file__).parent.parent),
            os.environ.get('PYTHONPATH', '')))})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_nothing_sent_makes_memory_grow_or_the_process_crash(tmp_path: Path) -> None:
    folder = tmp_path / 'bombs'
    folder.mkdir()
    (tmp_path / 'secret.bin').write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (folder / 'good').write_bytes(DATA)
    for name, graph in GRAPHS.items():
        (folder / f'graph, {name}').write_bytes(
            Bundle(WHOLE.manifest, {'policy': graph()}, WHOLE.golden_outputs).to_bytes())
    golden = WHOLE.to_bytes()
    start = len(MAGIC) + 8
    end = start + int.from_bytes(golden[len(MAGIC):start], 'little')
    header = json.loads(golden[start:end])
    graph_size = header['parts'][0]['size']
    for name, archive in GOLDEN.items():
        data = archive()
        header['parts'] = [header['parts'][0], {'name': 'canaries.npz', 'size': len(data)}]
        (folder / f'golden outputs, {name}').write_bytes(
            assembled(header, golden[end:end + graph_size] + data))
    header['manifest']['latent_dim'] = 10**18
    (folder / 'header, dimensions of exabytes').write_bytes(assembled(header, golden[end:]))
    for name, text in HEADERS.items():
        (folder / f'header, {name}').write_bytes(assembled(text()))
    said = in_a_process_of_its_own(folder, "said == path.name.startswith('good')")
    assert len(said.splitlines()) == 2 + sum(
        map(len, (GRAPHS, GOLDEN, HEADERS)))


def test_a_graph_too_greedy_to_be_looked_through_is_stopped_by_the_arena() -> None:
    """These pass the look at the graph: only the bound on memory is left."""
    for graph in (doubled(40), broadcast()):
        check_graph(graph)
        with pytest.raises(BundleError, match='memory'):
            check_bundle(Bundle(WHOLE.manifest, {'policy': graph}, WHOLE.golden_outputs), ROBOT,
                         task='reach', observation_dim=TASK.observation_dim)


def test_damaged_graphs_crash_nothing(tmp_path: Path) -> None:
    """ONNX Runtime is C++: what it does not expect may end the process."""
    folder = tmp_path / 'graphs'
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    graph = WHOLE.graphs['policy']
    for number in range(5000 if LONG else 150):
        damage = bytearray(graph)
        for _ in range(rng.integers(1, 4)):
            # Nodes and sizes come first in the file, plain weights after them.
            damage[int(len(graph) * rng.random() ** 3)] = rng.integers(256)
        runnable = Bundle(WHOLE.manifest, {'policy': bytes(damage)}, WHOLE.golden_outputs)
        (folder / f'{number:05d}').write_bytes(runnable.to_bytes())
    said = in_a_process_of_its_own(folder, 'said in (True, False)')
    assert len(said.splitlines()) == len(list(folder.iterdir()))


@tries(200)
@given(NUMBERS)
def test_a_damaged_graph_is_passed_on_or_refused(number: int) -> None:
    data = damage_of(WHOLE.graphs['policy'], number)
    try:
        check_graph(data)
    except GraphError:
        return
    onnx.ModelProto.FromString(data)


# Messages

LABELS = st.text(max_size=8) | st.sampled_from([*SCHEMA.fields, 'stamp:5', 'multiplier'])
UINT32 = st.integers(0, 2**32 - 1) | st.integers(0, 4)
VALUES = st.floats() | st.sampled_from([0.0, -1.0, 2.0**53, 2.0**63, 1e10, 1e300, 0.5])


@st.composite
def messages(draw: Callable[..., Any]) -> Float64MultiArray:
    dims = [MultiArrayDimension(label=label, size=size, stride=stride) for label, size, stride in
            draw(st.lists(st.tuples(LABELS, UINT32, UINT32), max_size=5))]
    data = array('d', draw(st.lists(VALUES, max_size=8)))
    return Float64MultiArray(layout=MultiArrayLayout(dim=dims, data_offset=draw(UINT32)),
                             data=data)


@tries(300)
@given(messages())
def test_any_array_message_is_read_or_refused(msg: Float64MultiArray) -> None:
    try:
        codec = ArrayCodec.of_message(msg)
    except CodecError as error:
        str(error).encode()
    else:
        assert codec.width == len(msg.data)
    for read in (ArrayCodec(SCHEMA).decode, decode_range,
                 lambda msg: decode_command(msg, 7)):
        try:
            read(msg)
        except CodecError as error:
            str(error).encode()
    assert (command_stamp(msg) or 0) < 10**19


@tries(300)
@given(st.lists(st.tuples(st.sampled_from(sorted(SCHEMA.fields)), VALUES), max_size=4))
def test_a_step_that_is_let_through_can_be_made_integers_of(
        changes: list[tuple[str, float]]) -> None:
    codec = ArrayCodec(SCHEMA)
    row = np.zeros(SCHEMA.width)
    for name, value in changes:
        row[SCHEMA.fields[name]] = value
    msg = codec.encode(row)
    try:
        read = ArrayCodec.of_message(msg).row(msg)
    except CodecError:
        assert changes
        return
    assert -1 <= int(SCHEMA.get(read, 'sequence')) <= 2**53
    struct.pack('<q', round(float(SCHEMA.get(read, 'stamp')) * 1e9))


@tries(100)
@given(st.lists(st.tuples(LABELS, st.integers(0, 3)), max_size=20, unique_by=lambda pair: pair[0]))
def test_only_a_step_is_taken_for_a_step(fields: list[tuple[str, int]]) -> None:
    codec = ArrayCodec(dict(fields))
    try:
        assert step_schema(codec).fields == codec.fields
    except CodecError:
        pass
    assert step_schema(ArrayCodec(SCHEMA)) == SCHEMA


@tries(300)
@given(st.lists(st.sampled_from([*ROBOT.joints[:2], '', 'x', '\0']), max_size=4),
       *[st.lists(VALUES, max_size=4)] * 3, st.integers(-2**31, 2**31 - 1), UINT32)
def test_any_joint_states_are_read_or_refused(
        names: list[str], position: list[float], velocity: list[float], effort: list[float],
        sec: int, nanosec: int) -> None:
    msg = JointState(name=names, position=position, velocity=velocity, effort=effort)
    msg.header.stamp.sec, msg.header.stamp.nanosec = sec, nanosec
    for needed in (True, False):
        try:
            state = JointStateReader(ROBOT.joints[:2], effort=needed).read(msg)
        except CodecError:
            continue
        if state is None:  # a part of the joints, or none
            continue
        for values in (state.position, state.velocity, state.effort):
            assert values.shape == (2,) and np.isfinite(values).all()


def test_sizes_that_cancel_out_are_no_layout() -> None:
    """Found by a hundred thousand messages: a field of size 1 and one of -1, and no value."""
    dims = [MultiArrayDimension(label='episode', size=1, stride=0),
            MultiArrayDimension(label='outcome', size=1, stride=1)]
    message = Float64MultiArray(layout=MultiArrayLayout(dim=dims))
    dims[1]._size = -1
    with pytest.raises(CodecError, match='WRONG_SIZE'):
        ArrayCodec.of_message(message)


@tries(200)
@given(st.text(max_size=30) | st.sampled_from(['²', '٣', '9' * 5000, '-1', ' 1', '1_0']))
def test_any_label_is_a_stamp_or_none(text: str) -> None:
    dim = MultiArrayDimension(label='stamp:' + text, size=1, stride=1)
    stamp = command_stamp(Float64MultiArray(layout=MultiArrayLayout(dim=[dim])))
    assert stamp is None or f'{stamp}' == text.lstrip('0').rjust(1, '0')


# Recordings and layouts

ENCODED = cdr.ArrayEncoder([('a', 2), ('bc', 1)]).encode(np.array([1.0, 2.0, 3.0]))


@tries(300)
@given(st.binary(max_size=100) | damaged(ENCODED))
def test_any_encoded_array_is_read_or_refused(data: bytes) -> None:
    for message in (data, ENCODED[:4] + data):
        try:
            fields, values = cdr.decode_array(message)
        except ValueError:
            continue
        assert sum(width for _, width in fields) == values.size
        assert values.nbytes <= len(message)


@tries(300)
@given(st.text(max_size=50) | JSON.map(json.dumps) | st.fixed_dictionaries(
    dict.fromkeys(('observation', 'latent', 'action', 'width'), JSON)).map(json.dumps)
    | damaged(SCHEMA.to_json().encode()).map(lambda data: data.decode(errors='replace')))
def test_any_layout_text_is_a_schema_or_refused(text: str) -> None:
    try:
        schema = StepSchema.from_json(text)
    except ValueError:
        return
    assert StepSchema.from_json(schema.to_json()) == schema


def test_a_layout_that_nests_deeply_is_refused() -> None:
    with pytest.raises(ValueError):
        StepSchema.from_json('[' * 200_000)


@tries(60)
@given(st.binary(max_size=60) | damaged(SCHEMA.to_json().encode()), st.binary(max_size=500))
def test_any_spool_folder_is_read_or_refused(
        tmp_path_factory: pytest.TempPathFactory, layout: bytes, steps: bytes) -> None:
    folder = fresh(tmp_path_factory)
    (folder / 'layout.json').write_bytes(layout)
    (folder / 'steps.f64').write_bytes(steps)
    try:
        schema, rows = read_spool(folder)
        assert rows.shape[1] == schema.width and rows.nbytes <= len(steps)
    except SpoolError:
        pass
    try:
        Spool(folder, SCHEMA).close()
    except SpoolError:
        pass


def fresh(factory: pytest.TempPathFactory) -> Path:
    """Return an empty folder, the same every time: a hundred thousand would take all the time."""
    folder = factory.getbasetemp() / 'fuzzed'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@pytest.fixture(scope='module')
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp('recording') / 'a.mcap'
    recorder = TransitionRecorder(path, SCHEMA)
    for sequence in range(5):
        recorder.write_step(SCHEMA.row(sequence=sequence, stamp=0.1 * sequence))
    assert recorder.close()
    return path.read_bytes()


@tries(60)
@given(st.data())
def test_any_recording_is_read_or_refused(
        recording: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = fresh(tmp_path_factory) / 'a.mcap'
    path.write_bytes(data.draw(damaged(recording)))
    try:
        schema, rows = read_steps(path)
    except RecorderError:
        return
    assert rows.shape[1] == schema.width and len(rows) <= 5
