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

"""Stress matrix: every fault in a real run, and its consequences."""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
import os
from pathlib import Path
import tempfile
from typing import Any

import numpy as np

from spaars_ros.commissioning import two_hosts
from spaars_ros.commissioning.stress_faults import BY_NAME
from spaars_ros.commissioning.stress_faults import inject
from spaars_ros.commissioning.stress_faults import MATRIX
from spaars_ros.commissioning.stress_faults import StressFault
from spaars_ros.commissioning.stress_rig import prepare
from spaars_ros.commissioning.stress_rig import StressError
from spaars_ros.commissioning.stress_rig import StressRig
from spaars_ros.commissioning.stress_rig import TRIGGERS
from spaars_ros.commissioning.stress_rows import KEYS
from spaars_ros.commissioning.stress_table import origin
from spaars_ros.run.domain import free_domain
from spaars_ros.run.folder import RunError
from spaars_ros.run.lifecycle_client import LifecycleError

HEADINGS = (('fault', 24), ('seed', 4), ('detected_s', 10), ('stopped_s', 9), ('worst_margin', 12),
            ('transitions_lost', 16), ('recovered', 15), ('detected_by', 0))


def chosen(names: Sequence[str]) -> list[StressFault]:
    """Return the faults of these names, all for none; raise ValueError for an unknown name."""
    for name in names:
        if name not in BY_NAME:
            raise ValueError(f'--fault {name}: known are {", ".join(BY_NAME)}')
    return [fault for fault in MATRIX if not names or fault.name in names]


def line(row: dict[str, Any] | None) -> str:
    """Return a row of the table for people; None gives the headings."""
    cells = []
    for name, width in HEADINGS:
        value = name if row is None else row[name]
        if name == 'detected_by' and row is not None and row['skipped']:
            value = f'skipped: {row["skipped"]}'
        text = '-' if value is None else f'{value:.3f}' if isinstance(value, float) else str(value)
        cells.append(text.ljust(width))
    return '  '.join(cells).rstrip()


def _row(**values: Any) -> dict[str, Any]:
    row = {**dict.fromkeys(KEYS), 'skipped': '', **values}
    return {key: row[key] for key in KEYS}


def beyond(row: dict[str, Any]) -> bool:
    """Return whether the arm was beyond a limit or in a zone while something could stop it."""
    margin = row.get('worst_margin')
    return bool(row.get('judged', True) and margin is not None and margin < 0.0)


def is_failure(row: dict[str, Any]) -> bool:
    """Return whether a step was lost, a limit violated, or the run did not recover."""
    return not row['skipped'] and bool(
        row['transitions_lost'] or row['recovered'] == 'no' or beyond(row))


def failures(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the faults whose rows are failures."""
    return list(dict.fromkeys(row['fault'] for row in rows if is_failure(row)))


def run(names: Sequence[str] = (), say: Callable[[str], None] = lambda text: None,
        trigger: str = TRIGGERS[0], seeds: Sequence[int] = (0,),
        keep: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
        made: Collection[tuple[str, int]] = ()) -> list[dict[str, Any]]:
    """
    Run the matrix, or the named faults, once per seed; return one row per run.

    It never runs on a robot's graph: it uses a separate domain and namespace, on this machine
    only. A seed determines the nodes' random numbers, the order of the faults, when each begins,
    and its joints.

    :param names: of the faults; empty: all
    :param say: shows a line to the user
    :param trigger: what triggers the policy server's ticks: timer or joint_states
    :param seeds: one run of all faults per seed
    :param keep: called with all rows so far after each run
    :param made: fault and seed of runs that are skipped, since they were made before
    :raises ValueError: unknown name
    :raises LifecycleError: the nodes do not become active
    """
    faults = chosen(names)
    if trigger not in TRIGGERS:
        raise ValueError(f'--trigger {trigger}: known are {", ".join(TRIGGERS)}')
    os.environ.update(ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST', ROS_DOMAIN_ID=str(free_domain()))
    rows: list[dict[str, Any]] = []
    where = origin()

    def done(values: dict[str, Any]) -> None:
        rows.append(_row(**values, **where))
        say(line(rows[-1]))
        keep(rows)
    say(line(None))
    reason = two_hosts.why_not() if any(fault.remote for fault in faults) else ''
    with tempfile.TemporaryDirectory(prefix='spaars_stress_') as folder:
        start = Path(folder) / 'pretrained.spaars'
        # Once for all runs, including those with a remote node.
        prepare(Path(folder) / 'first', 0, start)
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(faults)) if seed \
                else np.arange(len(faults))
            ordered = [faults[place] for place in order
                       if (faults[place].name, seed) not in made]
            local = [fault for fault in ordered if not fault.remote]
            for task in dict.fromkeys(fault.task for fault in local):
                _run_local([fault for fault in local if fault.task == task], seed, trigger,
                           start.with_name(f'{task}_{start.name}') if task else start, done)
            for fault in ordered:
                if fault.remote:
                    done({'fault': fault.name, 'about': fault.about, 'skipped': reason,
                          'seed': seed} if reason
                         else two_hosts.stress(fault.name, trigger, seed, start))
    return rows


def _run_local(faults: list[StressFault], seed: int, trigger: str, start: Path,
               done: Callable[[dict[str, Any]], None]) -> None:
    """Inject faults on this host, in one run for as many as it survives."""
    while faults:
        with tempfile.TemporaryDirectory(prefix='spaars_stress_') as folder:
            rig = StressRig(prepare(Path(folder), seed, start, faults[0].task), trigger=trigger)
            try:
                rig.start()
                while faults:
                    row = _injected(rig, faults.pop(0))
                    done(row)
                    if row['recovered'] == 'no':
                        break
            finally:
                rig.close()


def _injected(rig: StressRig, fault: StressFault) -> dict[str, Any]:
    try:
        return inject(rig, fault)
    except (LifecycleError, RunError, StressError) as error:
        return {'fault': fault.name, 'about': fault.about, 'recovered': 'no', 'seed': rig.seed,
                'judged': not fault.unstoppable, 'detected_by': str(error)}
