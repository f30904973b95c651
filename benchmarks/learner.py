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

"""Updates per second of our SAC and IQL and those of three libraries, in one run."""

from collections.abc import Callable
import json
import os
from pathlib import Path
import statistics
import subprocess
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.flops import iql_update
from benchmarks.flops import matrix_product_speed
from benchmarks.flops import sac_update
from benchmarks.peer_environments import how_to_make
from benchmarks.peer_environments import PeerError
from benchmarks.peer_environments import python_of
from benchmarks.peer_environments import SCRIPTS
from spaars_ros import __version__
from spaars_ros.interrupts import die_with_parent
from spaars_ros.learning.core.compiler import Compiler
from spaars_ros.learning.core.device import find_device
from spaars_ros.learning.core.draws import Draws
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.training_file import load_training

PEERS = {'sbx': 'update_sbx.py', 'sb3': 'update_sb3.py', 'd3rlpy': 'update_d3rlpy.py'}
OBSERVATION, ACTION = 11, 3
"""Dimensions of Hopper."""
TRANSITIONS = 20_000

RATIOS = {'ratio': ('sac', ('sb3', 'd3rlpy')), 'sbx_ratio': ('sac', ('sbx',)),
          'eager_sbx_ratio': ('sac_eager', ('sbx',)), 'cuda_ratio': ('sac_cuda', ('sac',)),
          'sac_ratio': ('sac', ('sb3',)), 'iql_ratio': ('iql', ('d3rlpy',))}
SIZES = {'2x256, 2 heads, batch 256': {'width': 256, 'heads': 2, 'batch': 256},
         'our defaults': {'width': 128, 'heads': 4, 'batch': 128},
         '10 heads': {'width': 128, 'heads': 10, 'batch': 128}}
"""Network sizes of `--sizes`."""
Rates = dict[str, list[float]]
"""Worker -> updates per second in each round."""
Round = Callable[[int], tuple[float, float]]
"""Function that does a number of updates; returns wall time and processor time in s."""


class Peer:
    """Script of a peer in its own environment, which does a round on request."""

    def __init__(self, name: str, python: Path, arguments: list[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [str(python), str(SCRIPTS / PEERS[name]), *arguments], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=die_with_parent)
        try:
            self.facts = self._answer()
        except PeerError:
            self.close()
            raise

    def __call__(self, updates: int) -> tuple[float, float]:
        """Do a number of updates, see `Round`; raises PeerError if the script failed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({'updates': updates}) + '\n')
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # _answer reports its last line
        answer = self._answer()
        return float(answer['seconds']), float(answer['cpu_seconds'])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None and self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            words = self._process.stderr.read().strip().splitlines()[-1:]
            raise PeerError(f'{self.name}: {" ".join(words) or "ended without a word"}')
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Kill the script."""
        self._process.kill()
        self._process.communicate()


def ours(name: str, *, width: int, batch: int, heads: int, layer_norm: bool = True,
         compiled: bool = False, device: str = 'cpu') -> Round:
    """
    Return the `Round` of one of our algorithms: sampling and updates, as for the peers.

    One-step returns, one policy update per critic update, normalised observations.

    :param layer_norm: False: critics without LayerNorm, like those of the peers
    :param compiled: compile before the first round, as in a long run, if the machine can
    :param device: as in a training file
    :raises PeerError: the compilation failed
    """
    training = load_training('spaars', algorithm=name, width=width, batch=batch, heads=heads,
                             n_step=1, policy_delay=1, device=device)
    rng = np.random.default_rng(0)
    replay = Replay(TRANSITIONS, None, Normaliser(np.zeros(OBSERVATION), np.ones(OBSERVATION)),
                    action=ACTION, constraints=0, gamma=0.99, n_step=1, observation=OBSERVATION)
    for _ in range(TRANSITIONS // 1000):
        replay.add_episode(rng.standard_normal((1001, OBSERVATION)),
                           rng.uniform(-1, 1, (1000, ACTION)), False,
                           rewards=rng.standard_normal(1000))
    algorithm = make_algorithm(name, training, observation=OBSERVATION, action=ACTION,
                               constraints=0, normaliser=replay.normaliser, seed=0)
    assert isinstance(algorithm, nn.Module)
    for module in algorithm.modules():
        if isinstance(module, EnsembleCritic):
            module.normalise = layer_norm
    assert isinstance(algorithm, TrainableModule)
    if algorithm.recipe is not None:
        algorithm.recipe['layer_norm'] = layer_norm
    if name == 'sac':
        algorithm.begin_online()

    draws = Draws(replay, None, (batch, 0), rng, device=algorithm.device)

    def work(updates: int) -> tuple[float, float]:
        began, cpu = time.perf_counter(), time.process_time()
        for step in range(updates):
            sampled, _ = draws.next()
            if name == 'sac':
                algorithm.update_online(sampled, sampled)
            else:
                algorithm.update_offline(sampled, step)
        return time.perf_counter() - began, time.process_time() - cpu

    if compiled:
        work(1)
        compile_all(algorithm)
    return work


def compile_all(agent: TrainableModule) -> None:
    """Wait until the agent's updates are compiled; raises PeerError if that fails."""
    compiler = Compiler(agent)
    compiler.look()
    while compiler.busy:
        time.sleep(0.2)
        compiler.look()
    if agent.called:
        raise PeerError(f'updates: {compiler.status}')


def run_sizes(**options: Any) -> dict[str, Any]:
    """Return the result of `run` for each of `SIZES`, and the ratios to SBX."""
    rows = {name: run(**{**options, **sizes}) for name, sizes in SIZES.items()}
    return {'sbx_ratios': {name: row['sbx_ratio'] for name, row in rows.items()}, 'sizes': rows}


def run(*, updates: int = 50, rounds: int = 20, width: int = 256, batch: int = 256,
        heads: int = 2, peers: Path, compiled: bool = True, device: str = 'cpu',
        say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """
    Return updates per second of each library, measured in turns so that load affects all alike.

    This process and the peers are pinned to the same core: XLA would use a second one.

    Keys: updates_per_s (our SAC, compiled), eager_updates_per_s (not compiled), iql_updates_per_s
    (our IQL), sbx_updates_per_s, sb3_updates_per_s, d3rlpy_updates_per_s (None if the peer is
    missing): medians over rounds. sbx_ratio and eager_sbx_ratio: our SAC to that of SBX; ratio:
    our SAC to the faster of the other two; sac_ratio: our SAC to that of stable-baselines3;
    iql_ratio: our IQL to that of d3rlpy; each the median over rounds of the ratio in a round.
    These have no LayerNorm, like the peers; sac_layer_norm_per_s and iql_layer_norm_per_s are
    ours with it, as used for learning. matmul_fraction and iql_matmul_fraction: FLOP per second
    of the updates over that of matrix products on one thread. cpu_ratio and the like use
    processor time, which is less affected by load, for use on a busy machine. rates: medians,
    quartiles and all rounds. notes: missing peers and how to make them.

    With another device than the CPU, sac_eager and iql of this device join as sac_cuda and
    iql_cuda; the keys are cuda_updates_per_s, iql_cuda_updates_per_s and cuda_ratio, our SAC there
    to our SAC on the CPU.

    :param peers: folder of the peer environments
    :param device: as in a training file; cpu: only there
    :raises PeerError: the script of a peer failed
    :raises ConfigError: device cuda, and torch sees no GPU
    """
    torch.set_num_threads(1)
    cores = os.sched_getaffinity(0)
    core = max(cores)
    sizes: dict[str, Any] = {'width': width, 'batch': batch, 'heads': heads}
    arguments = [f'--{key}={value}' for key, value in (
        *sizes.items(), ('observation', OBSERVATION), ('action', ACTION),
        ('transitions', TRANSITIONS))]
    workers: dict[str, Round] = {
        'sac': ours('sac', **sizes, layer_norm=False, compiled=compiled),
        'sac_eager': ours('sac', **sizes, layer_norm=False),
        'iql': ours('iql', **sizes, layer_norm=False),
        'sac_layer_norm': ours('sac', **sizes, compiled=compiled),
        'iql_layer_norm': ours('iql', **sizes)}
    if find_device(device).type != 'cpu':
        workers |= {f'{name}_cuda': ours(name, **sizes, layer_norm=False, device=device)
                    for name in ('sac', 'iql')}
    os.sched_setaffinity(0, {core})  # inherited by the peers; ours are compiled already
    notes, facts, started = [], [], []
    try:
        for name in PEERS:
            python = python_of(name, peers)
            if python is None:
                notes.append(how_to_make(name, peers))
            else:
                peer = Peer(name, python, arguments)
                started.append(peer)
                facts.append(peer.facts)
                workers[name] = peer
        for note in notes:
            if say is not None:
                say(note)
        rates, cpu_rates, speeds = _interleaved(workers, updates, rounds, batch, width, say)
    finally:
        os.sched_setaffinity(0, cores)
        for peer in started:
            peer.close()
    cpu_ratios = {f'cpu_{name}': _against(cpu_rates, *pair) for name, pair in RATIOS.items()}
    return {**_summary(rates, speeds, sizes), **cpu_ratios, 'updates_a_round': updates, **sizes,
            'observation': OBSERVATION, 'action': ACTION, 'threads': 1, 'core': core,
            'compiled': compiled, 'device': device, 'version': __version__,
            'torch': torch.__version__, 'peers': facts, 'notes': notes}


def _interleaved(workers: dict[str, Round], updates: int, rounds: int, batch: int, width: int,
                 say: Callable[[str], None] | None) -> tuple[Rates, Rates, list[float]]:
    """Return updates per second, per processor second, and FLOP/s of matrix products."""
    for work in workers.values():
        work(5)  # the first ones allocate memory
    names = list(workers)
    rates: Rates = {name: [] for name in names}
    cpu_rates: Rates = {name: [] for name in names}
    speeds = []
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds, cpu_seconds = workers[name](updates)
            rates[name].append(updates / seconds)
            cpu_rates[name].append(updates / cpu_seconds)
        speeds.append(matrix_product_speed(batch, width))
        if say is not None:
            say(f'round {number + 1} of {rounds}: ' + ', '.join(
                f'{name} {rates[name][-1]:.0f}/s' for name in names)
                + f', {speeds[-1] / 1e9:.0f} GFLOP/s')
    return rates, cpu_rates, speeds


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def _against(rates: Rates, mine: str, others: tuple[str, ...]) -> float | None:
    """Return the median over rounds of our rate over that of the fastest other."""
    there = [rates[name] for name in others if name in rates]
    if mine not in rates or not there:
        return None
    return _median([a / max(b) for a, *b in zip(rates[mine], *there)])


def _summary(rates: Rates, speeds: list[float], sizes: dict[str, int]) -> dict[str, Any]:
    dims = (sizes['batch'], OBSERVATION, ACTION, sizes['width'], sizes['heads'])
    flop = {'sac': sac_update(*dims), 'iql': iql_update(*dims)}
    fraction = {name: _median([rate * flop[name] / speed
                              for rate, speed in zip(rates[name], speeds)]) for name in flop}
    return {
        'updates_per_s': _median(rates['sac']), 'eager_updates_per_s': _median(rates['sac_eager']),
        'sbx_updates_per_s': _median(rates.get('sbx', [])),
        'cuda_updates_per_s': _median(rates.get('sac_cuda', [])),
        'iql_cuda_updates_per_s': _median(rates.get('iql_cuda', [])),
        'iql_updates_per_s': _median(rates['iql']),
        'sac_layer_norm_per_s': _median(rates['sac_layer_norm']),
        'iql_layer_norm_per_s': _median(rates['iql_layer_norm']),
        'sb3_updates_per_s': _median(rates.get('sb3', [])),
        'd3rlpy_updates_per_s': _median(rates.get('d3rlpy', [])),
        **{name: _against(rates, *pair) for name, pair in RATIOS.items()},
        'matmul_fraction': fraction['sac'], 'iql_matmul_fraction': fraction['iql'],
        'matmul_gflop_per_s': statistics.median(speeds) / 1e9,
        'flop_per_update': flop,
        'rates': {name: {'median': _median(values),
                         'quartiles': np.quantile(values, [0.25, 0.75]).tolist(),
                         'rounds': values} for name, values in rates.items()}}
