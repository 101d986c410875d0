"""Waits: what all uses of one waiter share, for one operation or for many.

A wait does nothing until it is used. Each use (one await, or one iteration) is a reader. The first reader lets every
member join the watch of its operation; when the last one leaves, they leave too.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from attrs import define, field, frozen

from schedules_async._clock import Clock, Seconds, Timer, Timers, to_seconds
from schedules_async._hooks import Hooks
from schedules_async._operations.base_errors import own_copy
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.fetcher import COPIED
from schedules_async._polling.forecast import TimeRemaining
from schedules_async._polling.policy import PollingPolicy
from schedules_async._polling.poller import Ending, Watch, Watches
from schedules_async._waiters.checkpoint import Checkpoint, write_checkpoint
from schedules_async.errors import (
    OperationFailedError,
    OperationStalledError,
    OperationTimeoutError,
    SessionClosedError,
)
from schedules_async.events import WaitBegun, WaitEnded


def to_timeout(name: str, value: Seconds | None) -> float:
    """Read a timeout, None as infinity; ValueError unless it is a number and not negative."""
    seconds = math.inf if value is None else to_seconds(value)
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"{name} must not be below 0, and is {seconds}")
    return seconds


@frozen
class WaitOptions:
    """How one wait differs from another; timeouts in seconds, infinity for none."""

    timeout: float
    stall_timeout: float
    check: bool
    polling: PollingPolicy


@frozen(eq=False)
class Surroundings:
    """What a session lends to its waits."""

    watches: Watches
    timers: Timers
    clock: Clock
    hooks: Hooks


@define(eq=False, repr=False)
class Reader:
    """One use of a wait: which members have changes that it has not read, and what ends it alone."""

    _fresh: "OrderedDict[Member, None] | None"  # None for one who waits for the end alone
    interruption: BaseException | None = field(init=False, default=None)
    _waiting: "list[asyncio.Future[None]]" = field(init=False, factory=list)

    def show(self, members: "Iterable[Member]") -> None:
        """Take changes; one that was not read gives way to a newer one of the same member."""
        if self._fresh is not None:
            self._fresh.update(dict.fromkeys(members))
            self.wake()

    def read(self) -> Operation | None:
        """Give the newest snapshot of the member whose change is unread for longest; it counts as read."""
        return self._fresh.popitem(last=False)[0].latest if self._fresh else None

    def interrupt(self, error: BaseException) -> None:
        """End this use."""
        self.interruption = error
        self.wake()

    def raise_interruption(self) -> None:
        """Raise what ended this use alone, if anything did."""
        error = self.interruption
        if error is not None:
            raise own_copy(error) if isinstance(error, COPIED) else error

    def wake(self) -> None:
        """Let those go on who wait for news."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def news(self) -> "asyncio.Future[None]":
        """Give what is done once there is something that was not there."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting = [one for one in self._waiting if not one.done()]
        self._waiting.append(waiting)
        return waiting


@define(eq=False, repr=False)
class Member:
    """One operation of a wait: what was seen of it, and how it ended for this wait."""

    ref: OperationRef
    latest: Operation | None
    _wait: "Wait"
    outcome: Operation | Exception | None = field(init=False)
    not_found_until: float = field(init=False, default=-math.inf)
    is_shown: bool = field(init=False, default=False)  # anything since it joined
    _watch: Watch | None = field(init=False, default=None)
    _quiet_since: float = field(init=False, default=-math.inf)
    _stall_timer: Timer | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.outcome = self.latest if self.latest is not None and self.latest.is_done else None

    @property
    def policy(self) -> PollingPolicy:
        """Say when to look."""
        return self._wait.options.polling

    @property
    def is_showable(self) -> bool:
        """Tell whether a use that begins is shown the newest snapshot: of an ended operation, or of a running watch."""
        if self.outcome is None:
            return self.is_shown and self._wait.is_polling
        return isinstance(self.outcome, Operation)

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The expectation of the watch, while anybody reads."""
        return self._watch.time_remaining if self._watch is not None and self._wait.is_polling else None

    def join(self, surroundings: Surroundings, first_use: float, away: float) -> None:
        """Follow the operation's watch; the `away` seconds for which nobody read count in no stall."""
        self.is_shown = False
        self.not_found_until = first_use + self.policy.not_found_grace
        self._quiet_since = max(first_use, self._quiet_since, self._changed_at) + away
        self._watch = surroundings.watches.join(self.ref, self, self._watch, self.latest)
        self._set_stall_timer(surroundings)

    def leave(self) -> None:
        """Follow no longer."""
        self._cancel_stall_timer()
        if self._watch is not None:
            self._watch.leave(self)

    def looked(self) -> None:
        """Count a look."""
        self._wait.polls += 1

    def show(self, operation: Operation) -> None:
        """Take a change."""
        self.latest, self.is_shown = operation, True
        self._wait.changed(self)

    def end(self, outcome: Ending) -> None:
        """Take the end; what ends the session or the task ends the whole wait, and is no outcome of this operation."""
        if isinstance(outcome, SessionClosedError) or not isinstance(outcome, Operation | Exception):
            self._wait.interrupt(outcome)
        else:
            self.outcome = outcome
            self._cancel_stall_timer()
            self._wait.member_ended()

    def give_up(self, outcome: Exception) -> None:
        """End for this wait alone; the polling goes on for others only."""
        self.leave()
        self.end(outcome)

    @property
    def _changed_at(self) -> float:
        return -math.inf if self._watch is None else self._watch.changed_at

    def _set_stall_timer(self, surroundings: Surroundings) -> None:
        """See whether there was a change once there should have been one."""
        allowed = self._wait.options.stall_timeout
        if self.outcome is None and allowed < math.inf:
            stalled_at = max(self._quiet_since, self._changed_at) + allowed
            check = partial(self._check_stall, surroundings, stalled_at)
            self._stall_timer = surroundings.timers.call_at(stalled_at, check)

    def _check_stall(self, surroundings: Surroundings, stalled_at: float) -> None:
        allowed = self._wait.options.stall_timeout
        if self._changed_at + allowed > stalled_at:
            self._set_stall_timer(surroundings)
        else:
            text = f"{self.ref} did not change for {allowed:g} s; {_last_seen(self.latest)}"
            self.give_up(OperationStalledError(text, ref=self.ref, operation=self.latest))

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()


def _last_seen(latest: Operation | None) -> str:
    return "never seen" if latest is None else f"last seen {latest.raw_status} at {latest.percent_complete:g} %"


@define(eq=False, repr=False)
class Wait:
    """Waiting for some operations: its deadline, its readers, and what became of each operation.

    `refs` are the operations as asked for, each once or more often; `seen` are snapshots out of a checkpoint.
    """

    refs: tuple[OperationRef, ...]
    options: WaitOptions
    _enter: Callable[[OperationRef | None], Surroundings]
    _seen: Mapping[OperationRef, Operation]
    members: dict[OperationRef, Member] = field(init=False)
    is_closed: bool = field(init=False, default=False)
    polls: int = field(init=False, default=0)  # since it began
    _unfinished: int = field(init=False)
    _surroundings: Surroundings | None = field(init=False, default=None)
    _first_use: float = field(init=False, default=math.nan)
    _begun: WaitBegun | None = field(init=False, default=None)  # while anybody waits for an end to come
    _begun_at: float = field(init=False, default=math.nan)
    _parted_at: float = field(init=False, default=math.nan)
    _readers: dict[Reader, None] = field(init=False, factory=dict)
    _timer: Timer | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.members = {ref: Member(ref, self._seen.get(ref), self) for ref in self.refs}
        self._unfinished = sum(member.outcome is None for member in self.members.values())

    @property
    def is_over(self) -> bool:
        """Tell whether every operation has ended for this wait."""
        return not self._unfinished

    @property
    def is_polling(self) -> bool:
        """Tell whether anybody reads, so that looks are wanted."""
        return bool(self._readers)

    def results(self) -> list[Operation | Exception]:
        """Give what became of each operation that has ended, in the order asked; of exceptions a new one each time."""
        outcomes = [self.members[ref].outcome for ref in self.refs]
        return [self._judge(outcome) for outcome in outcomes if outcome is not None]

    def _judge(self, outcome: Operation | Exception) -> Operation | Exception:
        if isinstance(outcome, COPIED):
            return own_copy(outcome)
        if isinstance(outcome, Operation) and outcome.is_failed and self.options.check:
            reason = outcome.failure_description or "no reason given"
            return OperationFailedError(f"{outcome.ref} failed: {reason}", ref=outcome.ref, operation=outcome)
        return outcome

    def begin(self, *, wakes_on_change: bool) -> Reader:
        """Begin one more use, which starts from what was seen; the first one starts the clock of the timeout."""
        reader = Reader(OrderedDict() if wakes_on_change else None)
        reader.show(member for member in self.members.values() if member.is_showable)
        if self.is_over:
            return reader
        if self.is_closed:
            raise asyncio.CancelledError
        self._surroundings = self._enter(self.refs[0] if len(self.refs) == 1 else None)
        self._readers[reader] = None
        if len(self._readers) == 1:
            try:
                self._join(self._surroundings)
            except Exception:  # out of the caller's own snapshots or clock
                self.leave(reader)
                raise
        return reader

    def _join(self, surroundings: Surroundings) -> None:
        self._begun_at = now = surroundings.clock.monotonic()
        self.polls = 0
        if math.isnan(self._first_use):
            self._first_use = self._parted_at = now
        self._begun = WaitBegun(frozenset(self.members))
        surroundings.hooks.tell(self._begun)
        for member in self._open_members():
            member.join(surroundings, self._first_use, now - self._parted_at)
        if self.options.timeout < math.inf and not self.is_over:
            self._timer = surroundings.timers.call_at(self._first_use + self.options.timeout, self._time_out)

    def leave(self, reader: Reader) -> None:
        """End one use; without any, nobody polls for this wait."""
        if self._readers.pop(reader, reader) is None and not self._readers:
            self._part(reader.interruption)

    def _part(self, interruption: BaseException | None = None) -> None:
        self._tell_end(interruption)
        if self._timer is not None:
            self._timer.cancel()
        if self._surroundings is not None:
            self._parted_at = self._surroundings.clock.monotonic()
        for member in self._open_members():
            member.leave()

    def _tell_end(self, interruption: BaseException | None = None) -> None:
        """Tell once of what began, unless the event loop was closed meanwhile."""
        begun, self._begun = self._begun, None
        if begun is None or self._surroundings is None or self._surroundings.timers.is_over:
            return
        outcomes = [member.outcome for member in self.members.values() if member.outcome is not None]
        self._surroundings.hooks.tell(
            WaitEnded(
                begun,
                self._surroundings.clock.monotonic() - self._begun_at,
                self.polls,
                tuple(own_copy(outcome) if isinstance(outcome, COPIED) else outcome for outcome in outcomes),
                interruption,
            )
        )

    def _open_members(self) -> list[Member]:
        return [member for member in self.members.values() if member.outcome is None] if self._unfinished else []

    def changed(self, member: Member) -> None:
        """Tell every reader of a change."""
        for reader in self._readers:
            reader.show((member,))

    def member_ended(self) -> None:
        """Count one operation that has ended; the last one is news for every reader."""
        self._unfinished -= 1
        if self.is_over:
            for reader in self._readers:
                reader.wake()
            self._tell_end()

    def interrupt(self, error: BaseException) -> None:
        """End every use now; of a group none is named."""
        if isinstance(error, SessionClosedError) and len(self.members) > 1:
            error.ref = None
        for reader in self._readers:
            reader.interrupt(error)

    def close(self) -> None:
        """End every use now, and any later one at once."""
        self.is_closed = True
        self.interrupt(asyncio.CancelledError())
        self._part()

    def _time_out(self) -> None:
        for member in self._open_members():
            text = f"{member.ref} did not end within {self.options.timeout:g} s; {_last_seen(member.latest)}"
            member.give_up(OperationTimeoutError(text, ref=member.ref, operation=member.latest))

    def checkpoint(self, *, is_group: bool) -> str:
        """Write down what it takes to go on with this wait elsewhere."""
        left = self.options.timeout
        if self._surroundings is not None:
            left = max(self._first_use + left - self._surroundings.clock.monotonic(), 0.0)
        return write_checkpoint(
            Checkpoint(
                refs=self.refs,
                seen={ref: member.latest for ref, member in self.members.items() if member.latest is not None},
                is_group=is_group,
                check=self.options.check,
                timeout=left,
                stall_timeout=self.options.stall_timeout,
            )
        )
