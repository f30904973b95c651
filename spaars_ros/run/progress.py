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

"""Progress of pretraining: bars on a terminal, else a first and a last line per stage."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import Progress
from rich.progress import TaskID
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn

Callback = Callable[[str, int, int, dict[str, float]], None]


@contextmanager
def pretraining_shown(console: Console, plain: bool = False) -> Iterator[Callback]:
    """Yield the progress callback for `pretrain`: stage, updates done, total, losses."""
    if plain or not console.is_terminal:
        said: set[str] = set()

        def line(stage: str, done: int, total: int, losses: dict[str, float]) -> None:
            if done == total or stage not in said:
                said.add(stage)
                values = '  '.join(f'{name} {value:.4g}' for name, value in losses.items())
                console.print(f'pretrain {stage}: {done} of {total}  {values}', highlight=False,
                              soft_wrap=True)
        yield line
        return
    with Progress(TextColumn('pretrain {task.description:6}'), BarColumn(),
                  TextColumn('{task.completed} of {task.total}'), TimeRemainingColumn(),
                  console=console) as bars:
        made: dict[str, TaskID] = {}

        def bar(stage: str, done: int, total: int, losses: dict[str, float]) -> None:
            if stage not in made:
                made[stage] = bars.add_task(stage, total=total)
            bars.update(made[stage], completed=done)
        yield bar
