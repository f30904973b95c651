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
Train IQL of d3rlpy offline, then online, for a given time; one JSON line per evaluation.

As in the paper: one update per environment step, all data in one buffer, rewards scaled by the
range of returns. Runs in a separate environment.
"""

from pathlib import Path

import d3rlpy
import numpy as np
from peer_clock import arguments
from peer_clock import Clock
from peer_clock import make
import torch


def main() -> None:
    """Run the command line."""
    parser = arguments(__doc__)
    parser.add_argument('--data', type=Path, required=True, help='.npz file of complete episodes')
    parser.add_argument('--offline', type=int, required=True,
                        help='updates before the first environment step')
    args = parser.parse_args()
    clock = Clock(args)
    torch.set_num_threads(1)
    d3rlpy.seed(args.seed)
    with np.load(args.data, allow_pickle=False) as file:
        data = d3rlpy.dataset.MDPDataset(
            file['observations'], file['actions'], file['rewards'].reshape(-1, 1),
            file['terminations'].astype(np.float32), file['truncations'].astype(np.float32))
    observations = np.concatenate([episode.observations for episode in data.episodes])
    returns = [float(episode.rewards.sum()) for episode in data.episodes]
    sizes = d3rlpy.models.encoders.VectorEncoderFactory([args.width, args.width])
    algorithm = d3rlpy.algos.IQLConfig(
        actor_encoder_factory=sizes, critic_encoder_factory=sizes, value_encoder_factory=sizes,
        weight_temp=3.0, expectile=0.7, batch_size=256,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(
            mean=observations.mean(0), std=observations.std(0)),
        reward_scaler=d3rlpy.preprocessing.ReturnBasedRewardScaler(
            return_max=max(returns), return_min=min(returns), multiplier=1000.0),
    ).create(device='cpu:0')
    algorithm.build_with_dataset(data)

    def act(observation: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return algorithm.predict(observation[None].astype(np.float32))[0]

    clock.start()
    for update in range(1, args.offline + 1):
        algorithm.update(data.sample_transition_batch(256))
        if update % args.every == 0 and clock.done(0, act):
            return
    env = make(args.env)
    memory = d3rlpy.dataset.create_fifo_replay_buffer(1_000_000, episodes=data.episodes, env=env)
    observation, _ = env.reset(seed=args.seed)
    step = 0
    while True:
        action = np.clip(algorithm.sample_action(
            observation[None].astype(np.float32))[0], -1.0, 1.0)
        following, reward, terminated, truncated, _ = env.step(action)
        memory.append(observation.astype(np.float32), action, float(reward))
        observation = following
        if terminated or truncated:
            memory.clip_episode(terminated)
            observation, _ = env.reset()
        algorithm.update(memory.sample_transition_batch(256))
        step += 1
        if step % args.every == 0 and clock.done(step, act):
            return


if __name__ == '__main__':
    main()
