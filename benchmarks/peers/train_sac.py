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
Train SAC of stable-baselines3 up to a target return, and write its actor as ONNX.

D4RL's *medium* sets come from a SAC agent stopped at about a third of expert return. Runs in a
separate environment (stable-baselines3, torch, gymnasium, mujoco, onnx) and imports nothing from
spaars_ros. The graph maps `observation` (batch, n) and standard normal `noise` (batch, d) to
`action` (batch, d); zero noise gives the mode. `--library sbx` uses SBX, the JAX implementation by
the same authors: on a GPU it does all updates of a round of `--envs` environments in one call, and
takes minutes instead of an hour.
"""

import argparse
import importlib
import json
from pathlib import Path
import sys
import time
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
import torch
from torch import nn


class Stochastic(nn.Module):
    """Squashed Gaussian actor with the noise as an input."""

    centre: torch.Tensor
    span: torch.Tensor

    def __init__(self, actor: Any, low: np.ndarray, high: np.ndarray) -> None:
        super().__init__()
        self.latent, self.mu, self.log_std = actor.latent_pi, actor.mu, actor.log_std
        self.register_buffer('centre', torch.as_tensor((high + low) / 2))
        self.register_buffer('span', torch.as_tensor((high - low) / 2))

    def forward(self, observation: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return the action (batch, d) in the units of the environment."""
        hidden = self.latent(observation)
        std = self.log_std(hidden).clamp(-20, 2).exp()
        return self.centre + self.span * torch.tanh(self.mu(hidden) + std * noise)


class Until(BaseCallback):
    """Evaluate the stochastic policy every `every` steps; stop at `target` or after `minutes`."""

    def __init__(self, env_id: str, target: float, every: int, minutes: float, out: Path) -> None:
        super().__init__()
        self.env_id, self.target, self.every = env_id, target, every
        self.minutes, self.out = minutes, out
        self.began = time.monotonic()
        self.rows: list[dict[str, float]] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every:
            return True
        env = gymnasium.make(self.env_id)
        returns = []
        for seed in range(10):
            observation, _ = env.reset(seed=1000 + seed)
            total, done = 0.0, False
            while not done:
                action, _ = self.model.predict(observation, deterministic=False)
                observation, reward, terminated, truncated, _ = env.step(action)
                total += float(reward)
                done = terminated or truncated
            returns.append(total)
        mean = float(np.mean(returns))
        self.rows.append({'steps': self.num_timesteps, 'return': mean,
                          'seconds': round(time.monotonic() - self.began, 1)})
        sys.stdout.write(json.dumps(self.rows[-1]) + '\n')
        sys.stdout.flush()
        export(self.model, self.out)
        self.out.with_suffix('.json').write_text(json.dumps(self.rows))
        return mean < self.target and time.monotonic() - self.began < 60 * self.minutes


class Flax(nn.Module):
    """Actor of SBX as torch module (`Dense_0` to `Dense_n`; the last two: mean and log std)."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        layers = []
        for index in range(len(params)):
            kernel = torch.tensor(np.asarray(params[f'Dense_{index}']['kernel']).T)
            layers.append(nn.Linear(kernel.shape[1], kernel.shape[0]))
            layers[-1].weight.data = kernel
            layers[-1].bias.data = torch.tensor(np.asarray(params[f'Dense_{index}']['bias']))
        hidden = [part for layer in layers[:-2] for part in (layer, nn.ReLU())]
        self.latent_pi, (self.mu, self.log_std) = nn.Sequential(*hidden), layers[-2:]


def export(model: Any, out: Path) -> None:
    """Write the actor as ONNX."""
    space, actions = model.observation_space, model.action_space
    jax = getattr(model.policy, 'actor_state', None)
    actor = model.policy.actor if jax is None else Flax(jax.params['params'])
    net = Stochastic(actor, actions.low, actions.high).eval()
    axes = {name: {0: 'batch'} for name in ('observation', 'noise', 'action')}
    partial = out.with_suffix('.part')
    torch.onnx.export(net, (torch.zeros(1, *space.shape), torch.zeros(1, *actions.shape)),
                      str(partial), input_names=['observation', 'noise'], output_names=['action'],
                      dynamic_axes=axes, opset_version=17, dynamo=False)
    partial.replace(out)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--env', required=True)
    parser.add_argument('--target', type=float, required=True, help='return to stop at')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=1_000_000)
    parser.add_argument('--minutes', type=float, default=120.0)
    parser.add_argument('--every', type=int, default=10_000)
    parser.add_argument('--width', type=int, default=256)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--library', choices=['stable_baselines3', 'sbx'],
                        default='stable_baselines3')
    parser.add_argument('--envs', type=int, default=1,
                        help='environments stepped together; one update per step of each')
    args = parser.parse_args()
    torch.set_num_threads(1)
    library = importlib.import_module(args.library)
    envs = DummyVecEnv([lambda: gymnasium.make(args.env)] * args.envs)
    # One update per environment step, as by default; several environments do 8 steps per round.
    often = {'train_freq': 8, 'gradient_steps': -1} if args.envs > 1 else {}
    model = library.SAC('MlpPolicy', envs, seed=args.seed, learning_starts=5000,
                        policy_kwargs={'net_arch': [args.width, args.width]}, **often)
    model.learn(args.steps, callback=Until(args.env, args.target, args.every, args.minutes,
                                           args.out))


if __name__ == '__main__':
    main()
