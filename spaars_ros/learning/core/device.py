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

"""Device on which networks learn, and what passes between it and the CPU."""

from typing import Any

from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.robot.strict_yaml import ConfigError

CPU = torch.device('cpu')


def find_device(choice: str) -> torch.device:
    """
    Return the device of a training file's `device`.

    :param choice: auto (a GPU if torch sees one), cpu or cuda
    :raises ConfigError: cuda, and torch sees no GPU; or another value
    """
    if choice not in ('auto', 'cpu', 'cuda'):
        raise ConfigError(f'device {choice!r}: expected auto, cpu or cuda')
    if choice == 'cpu':
        return CPU
    if torch.cuda.is_available():
        return torch.device('cuda')
    if choice == 'cuda':
        raise ConfigError("device 'cuda': torch sees no GPU on this computer; set device to auto "
                          'or cpu, or install the torch for its GPU (https://pytorch.org)')
    return CPU


def standard_normal(like: Tensor) -> Tensor:
    """
    Return standard normal noise in the shape of a tensor, on its device.

    It is drawn on the CPU: equal seeds give equal noise on every device, and a checkpoint holds
    the state of one generator.
    """
    return torch.randn(like.shape).to(like.device)


def array_of(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor of any device as an array; on the CPU both share their memory."""
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array
