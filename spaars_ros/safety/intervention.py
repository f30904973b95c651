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

"""Bit mask of the changes that the filter can make to a command."""

from enum import IntFlag


class Intervention(IntFlag):
    """Changes made by the filter; a bit mask in the step record."""

    NONE = 0
    POSITION = 1
    VELOCITY = 2
    ACCELERATION = 4
    JERK = 8
    NON_FINITE = 16
    BRAKE = 32
    KEEP_OUT = 64
    WORKSPACE = 128
    TIP_SPEED = 256
    COLLISION = 512


RATES = int(Intervention.ACCELERATION | Intervention.JERK)
BARRIERS = int(Intervention.KEEP_OUT | Intervention.WORKSPACE | Intervention.COLLISION)
PATIENCE = 5  # a learning policy often pushes against a barrier: such ticks count a fifth

BITS = {name: int(bit) for name, bit in Intervention.__members__.items() if bit}
