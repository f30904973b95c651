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

"""`spaars encoder`: train an image encoder from frames, and inspect an encoder file."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import write_json

app = typer.Typer(no_args_is_help=True, help='Train an image encoder from your own frames, or '
                                             'inspect one.')
TRAIN_EXAMPLES = """\b
Examples:
  spaars encoder train runs/demos --out eye.onnx
  spaars encoder train runs/demos bag.mcap --topic camera/image_raw --points 24 --out eye.onnx
  spaars encoder train runs/demos --method contrastive --out eye.onnx
"""


@app.command('train', epilog=TRAIN_EXAMPLES)
def train_command(
    frames: Annotated[list[Path], typer.Argument(
        help='Folders of runs with stored frames, or bags with images.')],
    out: Annotated[Path, typer.Option(help='ONNX file to write.')],
    topic: Annotated[str, typer.Option(
        help='Topic of the images; default: all image topics.')] = '',
    points: Annotated[int, typer.Option(
        min=1, max=128, help='Number of points that it tracks; the vector has twice as many '
        'values.')] = 16,
    size: Annotated[int, typer.Option(min=32, max=256, help='Edge of its input in pixels.')] = 84,
    crop: Annotated[str, typer.Option(
        help='left,top,right,bottom as shares of the image, like camera.crop in the task '
        'file.')] = '0,0,1,1',
    method: Annotated[str, typer.Option(
        help='reconstruction: rebuild what changes; contrastive: tell frames near in time from '
        'distant ones.')] = 'reconstruction',
    updates: Annotated[int, typer.Option(min=1, help='Updates of the network.')] = 800,
    most: Annotated[int, typer.Option(
        min=100, help='Largest number of frames to learn from.')] = 6000,
    seed: Annotated[int, typer.Option(min=0, help='Seed of weights and draws.')] = 0,
    json: Annotated[Optional[Path], typer.Option(help='Write the result here.')] = None,
) -> None:
    """Train a small encoder from frames alone, in minutes on one core."""
    with errors_as_one_line():
        check_json(json)
        shares = _shares(crop)
        from spaars_ros.data.files import write_whole
        from spaars_ros.learning.encoder.frames import load_frames
        from spaars_ros.learning.encoder.train import train
        from spaars_ros.vision.encoder_file import read_encoder
        images, follows = load_frames(frames, topic=topic, size=size, crop=shares, most=most)
        typer.echo(f'{len(images)} frames of {size}x{size} pixels')
        result = train(images, follows, points=points, method=method, updates=updates, seed=seed,
                       progress=lambda done, total, loss: typer.echo(
                           f'  {done}/{total} loss {loss:.3f}') if done % 100 == 0 else None)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, result.network.to_onnx())
        file = read_encoder(str(out))
        typer.echo(f'{out}: {file.features} values, {result.seconds:.0f} s, digest '
                   f'{file.digest[:16]}' + ('' if result.explained != result.explained else
                                            f'; accounts for {result.explained:.0%} of what '
                                            'changes in frames held out'))
        typer.echo('in the task file:  camera: {encoder: ' + str(out) + (
            '' if shares == (0.0, 0.0, 1.0, 1.0) else f', crop: [{crop}]') + '}')
        write_json(json, {'frames': result.frames, 'loss': result.loss, 'digest': file.digest,
                          'explained': result.explained, 'seconds': result.seconds,
                          'features': file.features, 'method': method, 'updates': updates,
                          'seed': seed})


def _shares(text: str) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(part) for part in text.split(','))
    except ValueError:
        raise ValueError(f'--crop {text}: expected left,top,right,bottom') from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f'--crop {text}: shares from 0 to 1, left below right, top below bottom')
    return left, top, right, bottom


@app.command('show')
def show_command(
    encoder: Annotated[str, typer.Argument(help='ONNX file, or package://<package>/<path>.')],
) -> None:
    """Show input, output and digest of an encoder; error if the file is not an encoder."""
    with errors_as_one_line():
        from spaars_ros.robot.sources import Source
        from spaars_ros.vision.encoder import Encoder
        from spaars_ros.vision.encoder_file import read_encoder
        file = read_encoder(encoder)
        size = 'any size' if file.size is None else f'{file.size[0]}x{file.size[1]} pixels'
        order = '[1, 3, height, width]' if file.first else '[1, height, width, 3]'
        typer.echo(f'{file.path}\ninput    {size}, {order}, {file.kind}\n'
                   f'output   {file.features} values\ndigest   {file.digest}')
        if file.size is not None:
            Encoder(Source(name='camera', type='Image', camera={'encoder': encoder}))
            typer.echo('runs     yes')
