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

"""The stress matrix: every fault in a real run, and what became of it."""

from collections.abc import Callable
from collections.abc import Sequence
import os
from pathlib import Path
import tempfile
from typing import Any

from spaars_ros.commissioning import two_hosts
from spaars_ros.commissioning.stress_faults import BY_NAME
from spaars_ros.commissioning.stress_faults import inject
from spaars_ros.commissioning.stress_faults import MATRIX
from spaars_ros.commissioning.stress_faults import StressFault
from spaars_ros.commissioning.stress_rig import prepare
from spaars_ros.commissioning.stress_rig import StressError
from spaars_ros.commissioning.stress_rig import StressRig
from spaars_ros.commissioning.stress_rig import TRIGGERS
from spaars_ros.run.folder import RunError
from spaars_ros.run.job import free_domain
from spaars_ros.run.lifecycle_client import LifecycleError

KEYS = ('fault', 'about', 'detected_s', 'detected_by', 'stopped_s', 'stop', 'worst_margin',
        'worst_limit', 'joint_margin_rad', 'zone_margin_m', 'transitions_lost', 'recovered',
        'skipped')
HEADINGS = (('fault', 24), ('detected_s', 10), ('stopped_s', 9), ('worst_margin', 12),
            ('transitions_lost', 16), ('recovered', 15), ('detected_by', 0))


def chosen(names: Sequence[str]) -> list[StressFault]:
    """Return faults by name, all of them for none; raises ValueError naming an unknown one."""
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


def failures(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the faults that lost a recorded transition or that the run did not survive."""
    return [row['fault'] for row in rows
            if not row['skipped'] and (row['transitions_lost'] or row['recovered'] == 'no')]


def run(names: Sequence[str] = (), say: Callable[[str], None] = lambda text: None,
        trigger: str = TRIGGERS[0]) -> list[dict[str, Any]]:
    """
    Run the matrix, or the named faults; return a row each.

    Never on a robot's graph: a domain and a namespace of its own, this machine only.

    :param trigger: what makes the policy server's ticks: timer or joint_states
    :raises ValueError: unknown name
    :raises LifecycleError: the nodes do not come up
    """
    faults = chosen(names)
    if trigger not in TRIGGERS:
        raise ValueError(f'--trigger {trigger}: known are {", ".join(TRIGGERS)}')
    os.environ.update(ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST', ROS_DOMAIN_ID=str(free_domain()))
    rows: list[dict[str, Any]] = []
    say(line(None))
    local = [fault for fault in faults if not fault.remote]
    while local:
        # One run for as many faults as it survives.
        with tempfile.TemporaryDirectory(prefix='spaars_stress_') as folder:
            rig = StressRig(prepare(Path(folder)), trigger=trigger)
            try:
                rig.start()
                while local:
                    row = _row(**_injected(rig, local.pop(0)))
                    rows.append(row)
                    say(line(row))
                    if row['recovered'] == 'no':
                        break
            finally:
                rig.close()
    reason = two_hosts.why_not() if any(fault.remote for fault in faults) else ''
    for fault in faults:
        if fault.remote:
            row = _row(fault=fault.name, about=fault.about, skipped=reason) if reason \
                else _row(**two_hosts.stress(fault.name, trigger))
            rows.append(row)
            say(line(row))
    return rows


def _injected(rig: StressRig, fault: StressFault) -> dict[str, Any]:
    try:
        return inject(rig, fault)
    except (LifecycleError, RunError, StressError) as error:
        return {'fault': fault.name, 'about': fault.about, 'recovered': 'no',
                'detected_by': str(error)}
