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

"""Reconciliation of spool and recording of a run: both hold the same steps before it resumes."""

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import fcntl
import os
from pathlib import Path

import numpy as np

from spaars_ros.data.files import open_inside
from spaars_ros.data.files import set_aside
from spaars_ros.data.mcap_records import Damage
from spaars_ros.data.ranges import follows
from spaars_ros.data.ranges import Ranges
from spaars_ros.data.ranges import ranges_of
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import NoStepError
from spaars_ros.data.recording import read_steps
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import Spool
from spaars_ros.data.spool import SpoolError
from spaars_ros.data.spool_format import LAYOUT
from spaars_ros.data.spool_format import scan_spool
from spaars_ros.data.spool_format import Spooled
from spaars_ros.data.spool_format import STEPS
from spaars_ros.data.spool_format import write_spool

SPOOL = 'spool'
RECORDING = 'transitions.mcap'


class ReconcileError(ValueError):
    """A run cannot resume from its remaining steps; the message names the missing ones."""


@dataclass
class _Steps:
    """Steps of spool and recording together, by sequence number."""

    schema: StepSchema
    rows: Array
    damage: list[Damage] = field(default_factory=list)
    recorded: int = 0
    spooled: Spooled | None = None
    spool_error: str = ''
    differ: int = 0
    corrections: list[int] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)
    foreign: dict[int, str] = field(default_factory=dict)
    """Number of a recorded step that the policy server did not write -> reason."""


def reconcile(folder: Path) -> list[str]:
    """
    Complete the spool and the recording of a run from each other; return one line per change.

    A step is published before it is on disk, so either file may hold steps that the other lacks.
    The policy server continues the numbering of the spool; with an incomplete spool, two steps
    would get one number.

    If spool and recording differ in a step, the spool is right, since its records have checksums.
    A spool of release 0.1.0 has none; there the recording is right, since its chunks have
    checksums.

    Recorded steps that the policy server did not write are left out: steps with a value out of
    range, and steps that are only in the recording and do not follow the end of the spool. Damaged
    files are kept under another name.

    :raises ReconcileError: a step in between is in neither file, or the files belong to two runs
    :raises OSError: a file cannot be read or written
    """
    steps = _collect(folder)
    if steps is None:
        return []
    try:
        return [*_mend_spool(folder / SPOOL, steps), *_mend_recording(folder / RECORDING, steps)]
    except (SpoolError, RecorderError) as error:
        raise ReconcileError(str(error)) from None


def complete_spool(folder: Path) -> list[str]:
    """
    Complete the spool of a run from its recording, while the recording is being written.

    :raises ReconcileError, OSError: as `reconcile`
    """
    steps = _collect(folder)
    try:
        return [] if steps is None else _mend_spool(folder / SPOOL, steps)
    except SpoolError as error:
        raise ReconcileError(str(error)) from None


def _collect(folder: Path) -> _Steps | None:
    damage: list[Damage] = []
    schema, rows = _recorded(folder / RECORDING, damage)
    spooled, said = _spooled(folder / SPOOL)
    if schema is None and spooled is None:
        if said:
            raise ReconcileError(f'{said}, and no step is recorded: move {folder / SPOOL} away to '
                                 'begin anew')
        return None
    known = schema if schema is not None else spooled.schema  # type: ignore[union-attr]
    if schema is not None and spooled is not None and spooled.schema != schema:
        raise ReconcileError(f'{folder}: the spool holds records of {spooled.schema.to_json()}, '
                             f'the recording of {schema.to_json()}')
    ranges = ranges_of(known)
    merged: dict[int, Array] = {}
    if spooled is not None:
        if not spooled.checked:
            spooled = replace(spooled, sound=spooled.sound & ranges.fit(spooled.rows))
        merged = {int(number): spooled.rows[number]
                  for number in np.flatnonzero(spooled.sound)}
    steps = _Steps(known, np.zeros((0, known.width)), damage, len(rows), spooled, said)
    _add_recorded(steps, merged, rows, ranges)
    numbers = sorted(merged)
    count = numbers[-1] + 1 if numbers else 0
    if count > len(numbers):
        first = next(place for place, number in enumerate(numbers) if number != place)
        more = count - len(numbers) - 1
        why = steps.foreign.get(first, '')
        raise ReconcileError(
            f'{folder}: step {first}' + (f' and {more} more of' if more else ' of')
            + f' {count} are neither in the spool nor in the recording'
            + (f' (recorded is one whose {why})' if why else '')
            + ', so the run cannot go on; all that is left stays as it is. Its newest checkpoint '
            'starts another run: --bundle')
    if spooled is not None:
        steps.given_up = [number for number in spooled.damaged if number >= count]
    steps.rows = np.stack([merged[number] for number in range(count)]) if count else steps.rows
    return steps


def _add_recorded(steps: _Steps, merged: dict[int, Array], rows: Array, ranges: Ranges) -> None:
    """Add the steps that only the recording has to the steps of the spool, by number."""
    spooled = steps.spooled
    checked = spooled is not None and spooled.checked
    end = len(spooled.rows) if spooled is not None and not spooled.damaged else None
    for row, fits in zip(rows, ranges.fit(rows) if len(rows) else ()):
        known = merged.get(int(row[0])) if np.isfinite(row[0]) else None
        if known is not None:
            if not np.array_equal(known, row):
                if checked or not fits:
                    steps.corrections.append(int(row[0]))
                else:
                    steps.differ += 1
                    merged[int(row[0])] = row
        elif not fits:
            name, value = ranges.name_of_bad(row) or ('value', float('nan'))
            steps.foreign[int(np.nan_to_num(row[0]))] = f'{name} is {value:g}'
        elif end is not None and row[0] >= end > 0 and not (
                row[0] - 1 in merged and follows(steps.schema, merged[int(row[0]) - 1], row)):
            steps.foreign[int(row[0])] = (
                f'place, episode or stamp do not follow step {int(row[0]) - 1}')
        else:
            merged[int(row[0])] = row


def _recorded(path: Path, damage: list[Damage]) -> tuple[StepSchema | None, Array]:
    if not path.exists() or not path.stat().st_size:
        return None, np.zeros((0, 0))
    try:
        return read_steps(path, damage=damage)
    except NoStepError:
        return None, np.zeros((0, 0))  # no complete chunk: the run stopped before the first one
    except RecorderError as error:
        raise ReconcileError(str(error)) from None


def _spooled(directory: Path) -> tuple[Spooled | None, str]:
    """Return the records of a spool, or None and the reason why not; '' if there is no spool."""
    if not directory.exists() or not os.listdir(directory):
        return None, ''
    try:
        return scan_spool(directory), ''
    except SpoolError as error:
        return None, str(error)


def _refuse_use(directory: Path) -> None:
    if not (directory / STEPS).exists():
        return
    with open(open_inside(directory / STEPS, os.O_RDONLY), 'rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SpoolError(f'{directory}: spool in use by another process') from None


def _mend_spool(directory: Path, steps: _Steps) -> list[str]:
    spooled, count = steps.spooled, len(steps.rows)
    damaged = spooled is not None and bool(spooled.damaged or steps.differ)
    if spooled is not None and not damaged:
        lacking = count - len(spooled.rows)
        if not lacking:
            return []
        _append(directory, steps, len(spooled.rows))
        return [f'{lacking} steps were recorded but not in the spool: added']
    if directory.exists() and os.listdir(directory):
        _refuse_use(directory)
        why = steps.spool_error or (
            f'{directory}: {len(spooled.damaged) if spooled else 0} damaged records, '
            f'{steps.differ} that are not as recorded')
        aside = set_aside(directory)
        lines = [f'{why}: rebuilt from the recording, the old one is kept as {aside.name}']
        if steps.given_up:
            lines.append(f'step {steps.given_up[0]}'
                         + (f' to {steps.given_up[-1]}' if len(steps.given_up) > 1 else '')
                         + ' is damaged in the spool and in no recording: given up')
    else:
        if directory.exists():
            directory.rmdir()
        lines = [f'{directory}: missing; rebuilt from the {count} recorded steps']
    assert (directory.parent / RECORDING).exists() or spooled is not None
    write_spool(directory, steps.schema, steps.rows)
    return lines


def _append(directory: Path, steps: _Steps, first: int) -> None:
    if not (directory / LAYOUT).exists():
        raise SpoolError(f'{directory}: {STEPS} without {LAYOUT}')
    spool = Spool(directory, steps.schema)
    try:
        for row in steps.rows[first:]:
            spool.append(row)
    finally:
        done = spool.close()
    if not done:
        raise SpoolError(f'cannot complete the spool: {spool.error}')


def _mend_recording(path: Path, steps: _Steps) -> list[str]:
    if steps.recorded == len(steps.rows) and not steps.damage and not steps.corrections \
            and not steps.foreign:
        return []
    recorder = TransitionRecorder(path, steps.schema, without=steps.foreign)
    added = sum(recorder.write_step(row) for row in steps.rows)
    for number in steps.corrections:
        recorder.correct_step(steps.rows[number])
    if not recorder.close():
        raise OSError(f'cannot complete the recording: {recorder.error}')
    return [*recorder.damage,
            *(f'step {number} of {path.name} is none of the policy server, its {why}: left out'
              for number, why in list(steps.foreign.items())[:3]),
            *([f'{len(steps.foreign) - 3} more steps of {path.name}, of the same kind: left out']
              if len(steps.foreign) > 3 else []),
            *([f'{len(steps.corrections)} recorded steps were not as the server wrote them: '
               'corrected'] if steps.corrections else []),
            *([f'{added} steps of the spool were not in {path.name}: added'] if added else [])]
