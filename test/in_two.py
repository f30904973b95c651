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
Run the whole suite, two files at a time; most tests wait for processes and for messages.

Tests marked `alone` measure times: they follow one by one; those marked `long` are left out.
`./run test` without arguments comes here, with arguments they are pytest's. What pytest says of a
file is shown when it is through; the exit code is 1 if a test failed.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import re
import subprocess
import sys
import time

HERE = Path(__file__).parent
PYTEST = [sys.executable, '-m', 'pytest', '-p', 'pytest_timeout', '-q']
LONGEST = ('finetune', 'finetune_algorithms', 'trainer', 'learner_node', 'stops', 'policy_server',
           'marvel', 'sim_node', 'bench_control', 'faults', 'skills', 'spar', 'staged', 'access',
           'lifecycle_matrix', 'bundles', 'bench_learning', 'cost_monitor', 'learning', 'fuzz')
"""Come first, each in a process of its own, so that none of them is what the end waits for."""
TOGETHER = 5
"""Of the other files in one process: the imports take longer than many of their tests."""
NO_TESTS = 5
"""What pytest returns where every test was deselected."""
WORKERS = max(1, min(2, len(os.sched_getaffinity(0))))


def portions(files: Sequence[Path]) -> list[list[Path]]:
    """Return the files in the order in which they start, by process."""
    names = [f'test_{name}' for name in LONGEST]
    first = sorted((file for file in files if file.stem in names),
                   key=lambda file: names.index(file.stem))
    rest = [file for file in files if file.stem not in names]
    return [[file] for file in first] + \
        [rest[start:start + TOGETHER] for start in range(0, len(rest), TOGETHER)]


def run(files: Sequence[Path], marked: str) -> tuple[bool, Counter[str]]:
    """Run the tests of some files with a mark; return whether all pass, and how many did what."""
    began = time.monotonic()
    done = subprocess.run([*PYTEST, '-m', marked, *map(str, files)], cwd=HERE.parent, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          env={**os.environ, 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'})
    passed = done.returncode in (0, NO_TESTS)
    text = done.stdout if not passed else done.stdout.strip().splitlines()[-1] + '\n'
    names = ' '.join(file.stem.removeprefix('test_') for file in files)
    sys.stdout.write(f'{names} ({marked}, {time.monotonic() - began:.0f} s): {text}')
    sys.stdout.flush()
    counted = re.findall(r'(\d+) (passed|failed|errors?|skipped)', text.splitlines()[-1])
    return passed, Counter({kind: int(number) for number, kind in counted})


def main(arguments: Sequence[str]) -> int:
    """Run all files, or those given; returns the exit code."""
    files = [Path(name).resolve() for name in arguments] or sorted(HERE.glob('test_*.py'))
    began = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            results = list(pool.map(lambda some: run(some, 'not alone and not long'),
                                    portions(files)))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            return 130
    timed = [file for file in files if 'mark.alone' in file.read_text()]
    if timed:
        results.append(run(timed, 'alone'))
    failed = not all(passed for passed, _ in results)
    total = sum((counts for _, counts in results), Counter())
    sys.stdout.write(', '.join(f'{number} {kind}' for kind, number in total.items())
                     + f' in {time.monotonic() - began:.0f} s: '
                     f'{"FAILED" if failed else "all well"}\n')
    return int(failed)


if __name__ == '__main__':
    raise SystemExit(main(sys.argv[1:]))
