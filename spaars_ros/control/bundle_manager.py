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


"""Manager of bundles: trial of the next one, its promotion, rollback to its parent."""

from collections.abc import Callable

from spaars_ros.control.control import ControlLoop
from spaars_ros.control.shadow import Shadow
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.runtime import PolicyRuntime

LONGEST = 64
"""Largest multiple of `hold` to which a hold grows."""


class RollbackRefused(ValueError):
    """A rollback is impossible, because there is no parent; the message says why."""


class BundleManager:
    """
    Change the control loop's bundle, between ticks only.

    One candidate is on trial at a time. The newest bundle that arrives meanwhile waits and is
    tried next. Everything runs on the control thread, after a tick's command was sent: a second
    inference takes about 10 us, less than the switches to a separate thread would cost.

    After a rollback no bundle is tried for some time (the hold), because the learner's next bundle
    descends from the version that was taken back and has learned little since. The hold doubles
    with every rollback, until a version has acted for as long as the last hold.

    :param loop: the control loop, whose bundle changes
    :param take: returns the newest checked runtime, once, or None
    :param refuse: called with the reason why a candidate is refused
    :param ticks: length of a trial in decisions, 0 for none
    :param bound: see `Shadow`, normalised action units
    :param hold: ticks after a rollback in which no bundle is tried, 0 for none
    :param acts: called with the runtime that acts from now on, and with the one before it after a
        promotion, else None; must not block
    :param takes_back: called with the version that was taken back; must not block
    :param spare: the bundle before the first one, where it is known: the target of a rollback when
        the first one fails
    """

    def __init__(self, loop: ControlLoop, *, take: Callable[[], PolicyRuntime | None],
                 refuse: Callable[[str], None], ticks: int, bound: float,
                 hold: int = 0,
                 acts: Callable[[PolicyRuntime, PolicyRuntime | None], None] =
                 lambda runtime, parent: None,
                 takes_back: Callable[[int], None] = lambda version: None,
                 spare: PolicyRuntime | None = None) -> None:
        self._loop = loop
        self._acts = acts
        self._takes_back = takes_back
        self._take = take
        self._refuse = refuse
        self.ticks = ticks
        self.bound = bound
        self.hold = hold
        self.held = 0
        """Ticks that are left in which no bundle is tried."""
        self._next_hold = hold
        self._acted = 0
        """Ticks that the present bundle has acted, if it was promoted here."""
        self.promoted = 0
        """Number of promoted bundles."""
        self.rolled_back_from = -1
        """Version of the last bundle that was taken back, -1 for none."""
        self._shadow: Shadow | None = None
        self._parent: PolicyRuntime | None = None
        self._spare = spare

    @property
    def shadow_version(self) -> int:
        """Return the version on trial, -1 for none."""
        return -1 if self._shadow is None else self._shadow.candidate.manifest.version

    @property
    def parent_version(self) -> int:
        """Return the version that a rollback returns to, -1 for none."""
        return -1 if self._parent is None else self._parent.manifest.version

    def before_tick(self) -> None:
        """Begin the trial of a waiting bundle, or promote it where there are no trials."""
        if self.held:
            self.held -= 1
            return
        self._acted += self._parent is not None
        if self._acted > self._next_hold:
            self._next_hold = self.hold
        if self._shadow is not None:
            return
        candidate = self._take()
        if candidate is None:
            return
        if self.ticks:
            self._shadow = self._trial(candidate)
        else:
            self._promote(candidate)

    def after_tick(self) -> None:
        """Let the candidate decide for the tick that was just answered."""
        decided, self._loop.decided = self._loop.decided, None
        if decided is None or self._shadow is None:
            return
        try:
            passed = self._shadow.observe(*decided)
        except BundleError as error:
            self._refuse(f'version {self.shadow_version}: {error}')
            self._shadow = None
            return
        if passed:
            self._promote(self._shadow.candidate)
            self._shadow = None

    def rollback(self) -> int:
        """
        Return to the bundle that acted before; return the version that was taken back.

        That version is never tried again, since versions only rise. A candidate on trial is
        refused; where there is no hold, its trial starts again, because it was compared with the
        removed bundle.

        :raises RollbackRefused: no bundle was promoted since the start or the last rollback
        """
        if self._parent is None:
            raise RollbackRefused(f'version {self._loop.runtime.manifest.version} has no parent '
                                  'here: nothing was promoted since the start or the last '
                                  'rollback')
        self.rolled_back_from = self._loop.runtime.manifest.version
        self._loop.swap(self._parent)
        self._takes_back(self.rolled_back_from)
        self._acts(self._parent, None)
        self._parent = None
        self._acted = 0
        self.held, self._next_hold = self._next_hold, min(2 * self._next_hold,
                                                          LONGEST * self.hold)
        if self._shadow is not None and self.held:
            self._refuse(f'version {self.shadow_version}: held_back: version '
                         f'{self.rolled_back_from} was taken back')
            self._shadow = None
        elif self._shadow is not None:
            self._shadow = self._trial(self._shadow.candidate)
        return self.rolled_back_from

    def fail(self) -> None:
        """Take the present version back because it failed; it stays if there is no other."""
        self._parent = self._parent or self._spare
        self._spare = None
        if self._parent is None:
            self._takes_back(self._loop.runtime.manifest.version)
        else:
            self.rollback()

    def _trial(self, candidate: PolicyRuntime) -> Shadow:
        return Shadow(candidate, ticks=self.ticks, bound=self.bound,
                      period=self._loop.robot.period)

    def _promote(self, candidate: PolicyRuntime) -> None:
        self._parent = self._loop.runtime
        self._loop.swap(candidate)
        self._acts(candidate, self._parent)
        self._acted = 0
        self.promoted += 1
