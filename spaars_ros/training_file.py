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

"""Training file: the algorithm and its constants, read from YAML, with a check of each field."""

from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import Field
from pydantic import model_validator

from spaars_ros.robot.files import find_file
from spaars_ros.robot.files import make_model
from spaars_ros.robot.files import Strict
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import read_yaml
from spaars_ros.training_sections import flat

ROBOT_ALGORITHMS = ('spaars', 'spaars-supe', 'spar')
"""Algorithms that the nodes on a robot run; `spaars train` runs all algorithms."""
SCRATCH = ('sac', 'sac-lagrangian', 'sac-pid')
"""Algorithms that learn without offline data."""


Size = Annotated[int, Field(le=100_000)]
Steps = Annotated[int, Field(le=1_000_000_000)]
Real = Annotated[float, Field(le=1_000_000)]


class Training(Strict):
    """A training file: the algorithm and every constant that it uses."""

    algorithm: Literal['spaars', 'bc', 'iql', 'rlpd', 'sac', 'plas', 'marvel', 'cpq',
                       'sac-lagrangian', 'sac-pid', 'supe', 'spaars-supe', 'spar',
                       'td3-bc'] = Field(
        'spaars', description='algorithm to train; the robot runs spaars, spaars-supe and spar, '
        '`spaars train` runs all')
    mode: Literal['gated', 'latent-only', 'raw-only', 'hard-switch'] = Field(
        'gated', description='gated: SPAARS; the others are its ablations (hard-switch: raw '
        'everywhere after the phase switch)')
    demonstrations: str = Field(
        'package://spaars_ros/data/demonstrations/panda_reach.h5', description='HDF5 data set, or '
        'package://<python package>/<path>; if omitted: that of the task file')

    width: Size = Field(128, ge=8, description='units per hidden layer')
    heads: Size = Field(4, ge=2, description='number of critic heads')
    latent_dim: Size = Field(
        4, ge=1, description='latent dimension k; the variance argument needs k <= d, the action '
        'dimension; if omitted: 4, or d if that is smaller')
    latent_bound: Real = Field(2.0, gt=0, description='bound of the latents: |z| <= this')
    batch: Size = Field(128, ge=2, description='transitions per update, half of them offline')
    learning_rate: Real = Field(3e-4, gt=0, description='learning rate of Adam, online')
    offline_learning_rate: Real = Field(1e-3, gt=0, description='learning rate of Adam, offline')
    gamma: float = Field(0.97, ge=0, lt=1, description='discount per tick')
    n_step: Size = Field(3, ge=1, description='steps of the n-step return before it bootstraps')
    tau: float = Field(0.005, gt=0, le=1, description='Polyak rate of the target critic')
    reward_scale: Real = Field(0.2, gt=0, description='factor on rewards and costs')

    shaping: Real = Field(
        20.0, ge=0, description='weight of potential-based shaping with the potential of the '
        'task; 0: no shaping')

    relabel: float = Field(
        0.5, ge=0, le=1, description='share of transitions with hindsight goals, from value '
        'pre-alignment on; CVAE, IQL and BC have none')

    cvae_steps: Steps = Field(6000, ge=0, description='offline updates of the CVAE')
    kl_weight: Real = Field(
        0.05, ge=0, description='weight of the mean KL, relative to the mean squared error in '
        'units of the action variance')
    iql_steps: Steps = Field(5000, ge=0, description='offline updates of IQL, AWR and BC')
    expectile: float = Field(0.7, gt=0.5, lt=1, description='expectile of IQL')
    temperature: Real = Field(3.0, ge=0, description='inverse temperature of AWR')
    align_steps: Steps = Field(
        3000, ge=0, description='updates of value pre-alignment, in which the critic evaluates '
        'the pretrained policy; offline data only, unless `align_share` is set')

    utd: Real = Field(2.0, ge=0, description='updates per environment step')
    weight_average: float = Field(
        0.0, ge=0, lt=1, description='average the weights over about 1 / (1 - this) updates; the '
        'average acts on the robot and is what `spaars train` evaluates; 0: the newest weights')
    warmup_steps: Steps = Field(500, ge=0, description='environment steps without updates')
    critic_steps: Steps = Field(500, ge=0, description='environment steps after warm-up in which '
                              'only the critic learns')
    min_latent_steps: Steps = Field(
        1500, ge=0, description='least number of environment steps before the phase switch')
    max_latent_steps: Steps = Field(
        3000, ge=0, description='environment steps after which the phase switches at the latest, '
        'once the BC bound holds')
    plateau_window: Steps = Field(250, ge=1, description='environment steps per window of novelty')
    plateau_tolerance: Real = Field(
        0.05, gt=0, description='largest relative change of novelty between two windows at which '
        'a window is calm')
    plateau_windows: Steps = Field(
        2, ge=1, description='consecutive calm windows that make a plateau')
    plateau: bool = Field(
        True, description='switch the phase at the plateau of novelty; false: after '
        'max_latent_steps')
    bc_bound: Real = Field(
        0.15, gt=0, description='largest |raw - decoded| at which the phase may switch')
    concurrent_bc: bool = Field(
        True, description='the raw policy imitates the decoder in the latent phase; false: it '
        'stays as cloned from the data, and the phase switch does not require bc_bound')
    prior: Real = Field(
        0.0, ge=0, description='weight of a frozen random network in every critic head, so that '
        'the heads disagree where data is sparse; 0: none')
    independent_targets: bool = Field(
        False, description='each head has its own target; false: all heads use the smaller of two')
    bootstrap: float = Field(
        1.0, gt=0, le=1, description='share of the heads that each transition trains, always the '
        'same heads')
    floor: bool = Field(
        False, description='spaars: the frozen pretrained action competes in every state, and '
        'acts until another action is better by the lower bound')
    latent_candidates: int = Field(
        0, ge=0, le=256, description='spaars: number of latent candidates near the pretrained '
        'one, of which the best by the lower bound is used; 0: the latent action comes from a '
        'policy that climbs the critic')
    self_imitation: bool = Field(
        False, description='spaars, with latent_candidates: in place of AWR, the latent policy '
        'clones demonstrations whose return is above their mean, and online also own episodes '
        'with such a return; all candidates except the first lie near its latent')
    latent_spread: Real = Field(
        0.5, ge=0, description='standard deviation of the latent candidates')
    hold_start: Real = Field(
        1.0, ge=0, description='factor on `anchor` and `raw_bc` when online learning begins')
    hold_steps: Steps = Field(
        5000, ge=1, description='time constant with which that factor approaches 1, in '
        'environment steps')
    gate_watch: Literal['promise', 'error'] = Field(
        'promise', description='condition that shuts the gate; promise: raw actions bring less '
        'than the critic predicted, on average; error: the TD error after raw actions is large, '
        'in either direction')
    gate_tolerance: Real = Field(
        1.0, gt=0, description='threshold of gate_watch, as a multiple of the root mean square of '
        'the TD error after latent actions')
    kappa: Real = Field(
        0.5, ge=0, description='gate: standard deviations below the mean at which the lower bound '
        'lies')
    explore_kappa: float | None = Field(
        None, ge=-1_000_000, le=1_000_000, description='`spaars train`: kappa of the gate during '
        'exploration; a negative value is optimistic: raw actions are tried where the heads '
        'disagree; null: same as kappa. The robot always uses kappa')
    trials: float = Field(
        0.0, ge=0, le=0.9, description='`spaars train`: share of the steps after the phase switch '
        'that control episodes take, in which the gate is shut; the gate is used, with '
        'explore_kappa, while episodes with it have a higher return. 0: always used, as on the '
        'robot')
    champion: float = Field(
        0.0, ge=0, lt=1, description='share of the episodes in which a challenger is tried; the '
        'version with the best record of training episodes is the champion: it acts and is '
        'deployed until another beats it; 0: the newest version acts')
    actor_kappa: Real = Field(
        1.0, ge=0, description='policies climb a lower bound that is this many standard '
        'deviations of the heads below their mean')
    min_margin: Real = Field(0.0, ge=0, description='gate: least advantage of the raw action')
    trust_start: Real = Field(
        0.1, gt=0, description='half-width of the trust box about the decoded action, at the '
        'start')
    trust_end: Real = Field(0.5, gt=0, description='half-width of the trust box once it has grown')
    trust_steps: Steps = Field(
        4000, ge=1, description='environment steps in which the trust box grows')
    trust_backoff: float = Field(
        1.0, gt=0, le=1, description='factor on the trust box after an episode that shut the '
        'gate; 1: the trust box only grows')
    explore_latent: Real = Field(
        0.3, ge=0, description='standard deviation of the latent exploration noise')
    explore_raw: Real = Field(
        0.1, ge=0, description='standard deviation of the raw exploration noise')
    explore_raw_end: Real = Field(
        0.04, ge=0, description='standard deviation of the raw exploration noise once the trust '
        'box has grown')
    explore_correlation: float = Field(
        0.8, ge=0, lt=1, description='correlation of the exploration noise from tick to tick; '
        'white noise hardly moves an arm')
    policy_delay: Steps = Field(1, ge=1, description='critic updates per policy update')
    anchor: Real = Field(
        0.1, ge=0, description='weight that keeps the latent policy near the pretrained policy')
    raw_bc: Real = Field(
        0.1, ge=0, description='weight that keeps the raw policy near the decoder, online')

    raw_candidate: Literal['policy', 'residual', 'imitation'] = Field(
        'policy', description='spaars: how the raw policy improves after the phase switch; '
        "policy: it climbs Q; residual: SPAR's self-imitation of residuals about the decoded "
        'action; imitation (needs self_imitation): in both phases it clones the same episodes as '
        'the latent policy, without the decoder')

    spar_projection: Literal['auto', 'mlp', 'proj'] = Field(
        'auto', description='spar: residual policy; mlp: over actions; proj: over latents, '
        'through the residual decoder; auto: mlp or proj, by whether the residuals of the data '
        'have one mode or several')
    spar_base_steps: Steps = Field(
        2000, ge=1, description='spar: offline updates of the base policy, before `cvae_steps` of '
        'the residual CVAE; the remaining updates of `iql_steps` and `align_steps` are '
        'self-imitation')
    spar_candidates: Size = Field(
        16, ge=1, description='spar, and raw_candidate residual: candidate latents per state')
    spar_sigma: Real = Field(
        0.5, gt=0, description='spar: standard deviation of the candidates about the present '
        'latent')
    spar_centre: float = Field(
        0.5, ge=0, le=1, description='spar: centre of the candidates, as a share of the present '
        'latent; 0: latents stay those of the data, 1: they climb to the latent bound where the '
        'values say so')
    spar_scale: float = Field(
        1.0, gt=0, le=2, description='spar: bound of the residual: |residual| <= this (mlp)')
    spar_temperature: Real = Field(
        1.0, gt=0, description='spar: temperature of the softmax over the candidates, in standard '
        'deviations of the values of a state')
    spar_fit: Real = Field(
        0.05, ge=0, description='spar: weight that keeps the residual near the decoded one at z = '
        '0 (mlp), or the latent near 0 (proj)')
    spar_conservative: Real = Field(
        0.0, ge=0, description='spar: weight that pushes the values of decoded actions below '
        'those of the data; 0: values learn from the data alone')

    start: str = Field(
        '', description='marvel: .npz file of offline tensors to start from, instead of the '
        'offline phase')
    cost_limit: Real = Field(
        20.0, ge=0, description='cpq, marvel: cost per episode from which the thresholds are '
        'computed; if omitted: the limit of the run')
    episode_steps: Steps = Field(200, ge=1, description='cpq: steps per episode, for its '
                                 'thresholds')
    clone_weight: Real = Field(
        1.0, ge=0, description='cpq: weight that keeps the policy near the safe actions of the '
        'data, as in TD3+BC; 0: as published')
    cost_weight: Real = Field(
        1.0, gt=0, description='sac-lagrangian, sac-pid, marvel, cpq: factor on costs, in '
        'addition to reward_scale')
    entropy: Real = Field(
        0.001, ge=0, description='sac-lagrangian, sac-pid, marvel: weight of the entropy; 0: '
        'tuned so that the entropy is -d')
    actor_rate: Real = Field(
        1.0, gt=0, description='sac-lagrangian, sac-pid, marvel: learning rate of the policy, as '
        'a multiple of that of the critic')
    offline_share: float = Field(
        0.0, ge=0, lt=1, description='marvel: share of offline data in a batch online; 0: as '
        'published')
    correction_weight: Real = Field(
        0.0, ge=0, description="spaars, spaars-supe: weight of cloning a person's actions, where "
        "the critic prefers them to the policy's own action; no effect without takeovers; 0: off")
    demonstration_weight: Real = Field(
        0.0, ge=0, description='marvel: weight of cloning actions of the data online, where the '
        "critics prefer them to the policy's own; needs an offline_share; 0: as published")
    align_share: float = Field(
        0.0, ge=0, lt=1, description="marvel: share of the policy's own transitions, from the "
        'warm-up, in the batches of the alignment, which then follows the warm-up; 0: the '
        'alignment uses offline data alone, before the warm-up')
    align_push: bool = Field(
        False, description="marvel: keep CPQ's push on the costs of foreign actions during the "
        'alignment')
    align_entropy_reward: float | None = Field(
        None, ge=0, le=1_000_000, description='marvel: weight of the entropy in the alignment of '
        'the reward critic; null: `entropy`, as online, so that nothing changes between the two')
    align_entropy_cost: Real = Field(
        0.0, ge=0, description='marvel: weight of the entropy in the alignment of the cost '
        'critic; it makes uncertain actions expensive')
    setpoint: float = Field(
        0.7, gt=0, le=1, description='sac-lagrangian, sac-pid, marvel: share of the cost limit at '
        'which the multiplier holds the cost')
    violation_rate: float = Field(
        0.0, ge=0, le=0.5, description='sac-lagrangian, sac-pid, marvel: share of the episodes '
        'that may be above the limit; it is held instead of the mean cost; 0: the mean cost is '
        'held at setpoint')
    multiplier: Literal['adaptive', 'plain', 'integral'] = Field(
        'adaptive', description='marvel: PID that sets the multiplier; adaptive: gains that '
        'change; plain: fixed gains; integral: only I, as in dual ascent')

    skill_length: int = Field(
        4, ge=1, le=1000, description='supe, spaars-supe: environment steps H for which a skill '
        'is held')
    skill_dim: Size = Field(
        8, ge=1, description='supe, spaars-supe: dimension of a skill; the variance argument '
        'needs at most H d')
    skill_width: Size = Field(
        128, ge=8, description='supe, spaars-supe: units per hidden layer of the skills and of '
        'the high level; published: 256')
    skill_layers: Size = Field(1, ge=1, description='supe, spaars-supe: layers of the GRU that '
                              'encodes chunks; published: 2')
    skill_kl: Real = Field(
        0.1, ge=0, description='supe, spaars-supe: weight of the KL of a chunk, relative to the '
        'negative log-likelihood averaged over its H steps')
    skill_steps: Steps = Field(6000, ge=0, description='supe, spaars-supe: offline updates of '
                               'OPAL')
    skill_iql_steps: Steps = Field(
        5000, ge=0, description='spaars-supe: offline updates of the high level by IQL, and of '
        'the shared critic and the raw policy')
    skill_expectile: float = Field(
        0.9, gt=0.5, lt=1, description='spaars-supe: expectile of that IQL')
    skill_awr: Real = Field(
        1.0, ge=0, description='spaars-supe: inverse temperature of its AWR, for advantages in '
        'units of their spread')
    skill_heads: Size = Field(
        10, ge=2, description='supe, spaars-supe: number of heads of the high-level critic')
    skill_subset: Size = Field(
        2, ge=1, description='supe, spaars-supe: number of random heads whose minimum is the '
        'target; published: 1 (AntMaze), 2 (Kitchen)')
    skill_discount: Literal['published', 'macro'] = Field(
        'published', description='supe, spaars-supe: discount of the value after a skill: gamma, '
        'as published, or gamma^H (macro)')
    skill_relabel: Literal['pred', 'min', 'none'] = Field(
        'pred', description='supe, spaars-supe: rewards of offline chunks during online learning: '
        'predicted by a network that learns from online chunks (pred), the minimum of the data '
        'set (min), or those in the data set (none)')
    rnd_weight: Real = Field(
        8.0, ge=0, description='supe, spaars-supe: weight of the novelty bonus of state and '
        'skill, relative to the reward of the task')
    skill_temperature: Real = Field(
        1.0, gt=0, description='supe, spaars-supe: initial weight of the entropy, relative to the '
        'reward of the task')
    skill_actor_delay: Steps = Field(
        2, ge=1, description='supe, spaars-supe: critic updates per high-level policy update; '
        'published: 20 of 80 per skill')
    skill_sample: bool = Field(
        True, description='supe, spaars-supe: `spaars train` samples the action of a skill during '
        'exploration, as published; false: it uses the mean. Evaluations and the robot use the '
        'mean')

    device: Literal['auto', 'cpu', 'cuda'] = Field(
        'auto', description='where the networks learn; auto: on a GPU if torch sees one, else on '
        'the CPU. Checkpoints and bundles of one device continue on another; only updates on the '
        'CPU are compiled')
    compile: Literal['auto', 'off', 'on'] = Field(
        'auto', description='compile the updates (needs g++), in a process beside the '
        'learner, and keep the result in ~/.cache/spaars_ros/compiled; auto: in runs of many '
        'updates; off: every run gives the same numbers, bit for bit')
    push_every: Steps = Field(100, ge=1, description='environment steps between bundles')
    checkpoint_every: Steps = Field(
        2500, ge=1, description='environment steps between checkpoints')

    @model_validator(mode='after')
    def _has_one_judge(self) -> 'Training':
        if self.champion and self.trials:
            raise ValueError(f'champion {self.champion:g} and trials {self.trials:g}: both try '
                             'what was learned; set one of them to 0')
        return self

    @model_validator(mode='after')
    def _has_what_raw_clones(self) -> 'Training':
        finds = self.self_imitation and self.floor and self.latent_candidates \
            and self.mode in ('gated', 'latent-only')
        if self.raw_candidate == 'imitation' and self.algorithm.startswith('spaars') \
                and not (finds and self.algorithm == 'spaars'):
            raise ValueError("raw_candidate 'imitation': clones what self_imitation finds, which "
                             'algorithm spaars has in modes gated and latent-only with floor and '
                             'latent_candidates; set these, or raw_candidate to policy')
        return self

    @model_validator(mode='after')
    def _has_what_it_copies(self) -> 'Training':
        if self.algorithm == 'marvel' and self.demonstration_weight and not self.offline_share:
            raise ValueError(f'demonstration_weight {self.demonstration_weight:g}: offline_share '
                             'is 0, no batch has demonstrations')
        return self


def check_robot_runs(training: Training) -> None:
    """Raise ConfigError, with a list of valid algorithms, if a robot cannot run this one."""
    if training.algorithm not in ROBOT_ALGORITHMS:
        raise ConfigError(f'algorithm {training.algorithm!r}: the robot runs '
                          f'{", ".join(ROBOT_ALGORITHMS)}; `spaars train` runs the others')


def for_task(training: Training, action: int, demonstrations: str = '') -> Training:
    """
    Return the settings with defaults adapted to a task, for fields that the file leaves out.

    :param action: width of the task's actions, upper bound of `latent_dim`
    :param demonstrations: the task's data set; '' keeps the default
    """
    given, own = training.model_fields_set, dict[str, Any]()
    if 'latent_dim' not in given and training.latent_dim > action:
        own['latent_dim'] = action
    if 'demonstrations' not in given and demonstrations:
        own['demonstrations'] = demonstrations
    return training.model_copy(update=own) if own else training


def load_training(name: str = 'spaars', **overrides: Any) -> Training:
    """
    Read a training file by path, or by name from `config/training/`.

    Settings of one family of algorithms may be in its section (`training_sections.SECTIONS`).

    :param overrides: values that replace those of the file; None keeps the file's
    :raises ConfigError: no such file, malformed, or an invalid setting
    """
    document = flat(read_yaml(find_file(str(name), 'training')), Training.model_fields)
    given = {key: value for key, value in overrides.items() if value is not None}
    return make_model(Training, document, given)
