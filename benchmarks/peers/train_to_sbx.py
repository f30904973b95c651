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
Train SAC of SBX (JAX) from scratch for a given time; one JSON line per evaluation.

Default settings except for the width of the networks; one core. Runs in a separate environment.
"""

import os

from peer_clock import arguments
from peer_clock import Clock
from peer_clock import make
from sbx import SAC
from stable_baselines3.common.callbacks import BaseCallback


class Evaluate(BaseCallback):
    """Evaluate every `--every` steps; end when the budget is used up."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def _on_step(self) -> bool:
        if self.num_timesteps % self.clock.args.every:
            return True
        return not self.clock.done(
            self.num_timesteps, lambda o: self.model.predict(o, deterministic=True)[0])


def main() -> None:
    """Run the command line."""
    args = arguments(__doc__).parse_args()
    # XLA uses all permitted cores.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    clock = Clock(args)
    model = SAC('MlpPolicy', make(args.env), seed=args.seed, device='cpu',
                policy_kwargs={'net_arch': [args.width, args.width]})
    clock.start()
    model.learn(10**9, callback=Evaluate(clock))


if __name__ == '__main__':
    main()
