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

"""Train an encoder on frames without labels: reconstruct changes, or contrast frames in time."""

from collections.abc import Callable
from dataclasses import dataclass
import time

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from spaars_ros.learning.encoder.network import as_tensor
from spaars_ros.learning.encoder.network import PointNet

METHODS = ('reconstruction', 'contrastive')
BATCH = 48
RATE = 2e-3
SHIFT = 6
"""Maximum random shift of an image in each direction, pixels."""
EQUIVARIANCE = 1.0
"""Weight of the loss on points that do not move with the image."""
SMOOTH = 0.05
"""Weight of the loss on points that jump from frame to frame."""
WORST, WEIGHT_OF_WORST = 0.03, 0.1
"""Share of an image's pixels with the largest errors, and additional weight of their errors."""
COARSE = 3
"""Factor by which the reconstructed image is smaller than the image."""
BLOTS = (0.08, 0.25)
"""Standard deviations of the Gaussians that represent a point; the image is 2 wide."""
CHANNELS = 32
TEMPERATURE = 0.1
NEAR = 2
"""Maximum distance, in frames, of frames that count as near in time."""
HELD_OUT = 0.1
"""Share of the frames, the last ones, that is not used for training."""
LOOK = 20
"""Number of updates between two reports."""

Images = NDArray[np.uint8]
Progress = Callable[[int, int, float], None]
"""Callback (updates done, total updates, loss)."""


class TrainingError(ValueError):
    """Training on these frames is impossible or failed; the message has the reason."""


@dataclass(frozen=True)
class Result:
    """Result of a training."""

    network: PointNet
    frames: int
    loss: float
    """Mean loss of the last `LOOK` updates."""
    explained: float
    """Share of the variation in held-out frames that the points explain; NaN: not measured."""
    seconds: float


class _Rebuild(nn.Module):
    """
    Reconstruct a coarse image of the difference from the mean image, from the points only.

    Each point is rendered as Gaussians about it, from which convolutions compute the image (after
    Jakab et al. 2018, Unsupervised learning of object landmarks).
    """

    def __init__(self, images: Images, points: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        coarse = _coarse(as_tensor(images))
        self.register_buffer('mean', coarse.mean(0))
        # Errors are divided by each pixel's deviation, so that small moving objects count as much
        # as large ones; the constant keeps the weight of static pixels low.
        self.register_buffer('spread', coarse.std(0) + 0.02)
        edge = coarse.shape[-1]
        line = torch.linspace(-1.0, 1.0, edge)
        y, x = torch.meshgrid(line, line, indexing='ij')
        self.places: Tensor
        self.register_buffer('places', torch.stack((x, y)))
        # Small kernels paint an object near its point, so a point helps most if it is on one.
        self.net = nn.Sequential(
            nn.Conv2d(len(BLOTS) * points, CHANNELS, 3, padding=1), nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU(),
            nn.Conv2d(CHANNELS, 3, 3, padding=1))

    def errors(self, images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return squared errors (B, 3, e, e), and the mean squared error of the mean image.

        :param images: (B, 3, s, s), 0 to 1
        :param points: (B, K, 2)
        """
        wanted = (_coarse(images) - self.mean) / self.spread
        away = (points[..., None, None] - self.places).square().sum(2)
        made = self.net(torch.cat([torch.exp(-away / (2 * wide**2)) for wide in BLOTS], dim=1))
        return (made - wanted).square(), wanted.square().mean()


def _coarse(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images, COARSE)


def train(images: Images, follows: NDArray[np.bool_], *, points: int = 16,
          method: str = METHODS[0], updates: int = 800, seed: int = 0,
          progress: Progress = lambda done, total, loss: None) -> Result:
    """
    Train an encoder; equal frames and seeds give equal encoders.

    :param images: (N, s, s, 3), 0 to 255
    :param follows: (N,) whether a frame directly follows its predecessor, of the same camera
    :param points: K, half the width of the feature vector
    :param method: 'reconstruction' reconstructs changes from the points (Finn et al. 2016);
        'contrastive' separates frames near in time from others (Sermanet et al. 2018)
    :param updates: number of updates
    :param progress: called every `LOOK` updates and at the end
    :raises TrainingError: unknown method, too few frames, all frames equal, or a loss that is not
        finite
    """
    began = time.monotonic()
    if method not in METHODS:
        raise TrainingError(f'--method {method}: one of {", ".join(METHODS)}')
    kept = len(images) - round(HELD_OUT * len(images))
    if kept < BATCH:
        raise TrainingError(f'{len(images)} frames: at least {round(BATCH / (1 - HELD_OUT)) + 1}')
    if np.ptp(images[::max(1, kept // 200)], axis=0).max() < 3:
        raise TrainingError('the frames are all the same: move what is to be seen')
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = PointNet(images.shape[1], points)
    rebuild = _Rebuild(images[:kept:max(1, kept // 1000)], points)
    head = nn.Sequential(nn.Linear(2 * points, 64), nn.ReLU(), nn.Linear(64, 32))
    model = nn.ModuleList((network, rebuild if method == METHODS[0] else head))
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates, RATE / 20)
    middles = _middles(follows[:kept])
    losses: list[float] = []
    for done in range(1, updates + 1):
        places = rng.choice(middles, min(BATCH, len(middles)), replace=False)
        loss = _rebuilt(network, rebuild, images, places, rng) if method == METHODS[0] \
            else _contrast(network, head, images, places, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise TrainingError(f'the loss is {losses[-1]} after {done} updates: try another seed')
        if done % LOOK == 0 or done == updates:
            progress(done, updates, float(np.mean(losses[-LOOK:])))
    explained = _explained(network, rebuild, images[kept:]) if method == METHODS[0] \
        else float('nan')
    return Result(network, len(images), float(np.mean(losses[-LOOK:])), explained,
                  time.monotonic() - began)


def _middles(follows: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the indices of frames with neighbours in time on both sides; if none has, of all."""
    near = np.flatnonzero(follows[1:-1] & follows[2:]) + 1
    found = near[(near >= NEAR) & (near < len(follows) - NEAR)]
    return found if len(found) else np.arange(NEAR, len(follows) - NEAR)


def shift_images(images: Tensor, by: NDArray[np.int_]) -> Tensor:
    """Shift images (B, 3, s, s) by (B, 2) pixels, x and y, and replicate their edges."""
    size = images.shape[-1]
    padded = functional.pad(images, (SHIFT,) * 4, mode='replicate')
    return torch.stack([one[:, SHIFT - y:SHIFT - y + size, SHIFT - x:SHIFT - x + size]
                        for one, (x, y) in zip(padded, by.tolist())])


def _rebuilt(network: PointNet, rebuild: _Rebuild, images: Images, places: NDArray[np.intp],
             rng: np.random.Generator) -> Tensor:
    now = as_tensor(images[places])
    by = rng.integers(-SHIFT, SHIFT + 1, (len(places), 2))
    some = len(places) // 3
    neighbours = as_tensor(np.concatenate((images[places[:some] - 1], images[places[:some] + 1])))
    points = network(torch.cat((now, shift_images(now, by), neighbours)))
    here, moved, beside = points.split((len(now), len(now), 2 * some))
    errors, _ = rebuild.errors(now, here)
    # After the arm is explained, the largest errors are at the small object that it handles.
    pixels = errors.mean(1).flatten(1)
    worst = pixels.topk(max(1, round(WORST * pixels.shape[1])), dim=1).values
    error = errors.mean() + WEIGHT_OF_WORST * worst.mean()
    wanted = here.detach() + torch.from_numpy(by).float()[:, None] * 2.0 / (network.size - 1)
    inside = (wanted.abs() < 1.0).float()
    equivariant = ((moved - wanted).square() * inside).mean()
    jumps = (beside[:some] - 2.0 * here[:some] + beside[some:]).square().mean()
    return error + EQUIVARIANCE * equivariant + SMOOTH * jumps


def _contrast(network: PointNet, head: nn.Module, images: Images, places: NDArray[np.intp],
              rng: np.random.Generator) -> Tensor:
    """Return the InfoNCE loss of frames and frames near in time, both shifted at random."""
    near = places + rng.integers(1, NEAR + 1, len(places)) * rng.choice((-1, 1), len(places))
    both = as_tensor(images[np.concatenate((places, near))])
    by = rng.integers(-SHIFT, SHIFT + 1, (len(both), 2)) // 2
    found = functional.normalize(head(network(shift_images(both, by)).flatten(1)), dim=-1)
    one, other = found.chunk(2)
    return functional.cross_entropy(one @ other.T / TEMPERATURE, torch.arange(len(one)))


def _explained(network: PointNet, rebuild: _Rebuild, images: Images) -> float:
    error = whole = 0.0
    with torch.no_grad():
        for part in np.array_split(images, max(1, len(images) // BATCH)):
            given = as_tensor(part)
            left, all_of_it = rebuild.errors(given, network(given))
            error += float(left.mean()) * len(part)
            whole += float(all_of_it) * len(part)
    return 1.0 - error / whole if whole else float('nan')
