"""What bars show: how far each operation of some waits has come, the totals, and which ones to show of many. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
from heapq import nlargest, nsmallest
from itertools import chain, islice
from math import ceil, inf

from attrs import define, field

from schedules_async import Operation, OperationRef, SchedulesSession, TimeRemaining
from schedules_async._waiters.waiter import OperationProgress
from schedules_async.progress.text import printable, spell_failure, spell_loss, spell_traffic

Names = Mapping[OperationRef, str] | Callable[[OperationRef], str]

_CHOSEN_FOR = 10  # frames for which the same ones of many are shown


def _progress(operation: Operation) -> float:
    """Give how far the work has come; a failed operation only as far as it says itself."""
    return min(max(operation.percent_complete / 100, 0.0), 1.0) if operation.is_failed else operation.fraction


@define(eq=False)
class Track:
    """One operation: its `fraction` never falls; `changed` is the number of the update that saw its newest change."""

    name: str
    _member: OperationProgress
    fraction: float = field(init=False, default=0.0)
    changed: int = field(init=False, default=0)
    _seen: Operation | None = field(init=False, default=None)

    def update(self, number: int) -> None:
        """See what is new."""
        latest = self._member.latest
        if latest is not None and latest is not self._seen:
            self._seen, self.changed = latest, number
            self.fraction = max(self.fraction, _progress(latest))
        if self.is_over:
            self.changed = number

    @property
    def is_over(self) -> bool:
        """Tell whether the wait for it has ended."""
        return self._member.outcome is not None

    @property
    def is_succeeded(self) -> bool:
        """Tell whether the operation ended well."""
        outcome = self._member.outcome
        return isinstance(outcome, Operation) and outcome.is_succeeded

    @property
    def is_lost(self) -> bool:
        """Tell whether it ended otherwise."""
        return self.is_over and not self.is_succeeded

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """Give the range in which the end is expected, in seconds from now."""
        return None if self.is_over else self._member.time_remaining

    @property
    def standing(self) -> str:
        """Say where the operation stands, or why it was lost."""
        latest, outcome = self._member.latest, self._member.outcome
        if isinstance(outcome, Exception):
            return spell_loss(outcome)
        if latest is None:
            return "not seen yet"
        if latest.is_failed:
            return spell_failure(latest)
        return printable((not latest.is_done and latest.sub_status) or latest.raw_status)


@define(eq=False)
class Board:
    """All operations that are followed, in the order in which they came."""

    _names: Names | None = None
    tracks: list[Track] = field(init=False, factory=list)
    lost: int = field(init=False, default=0)
    _running: list[Track] = field(init=False, factory=list)
    _updates: int = field(init=False, default=0)
    _chosen: list[Track] = field(init=False, factory=list)
    _choose_at: int = field(init=False, default=0)

    def add(self, members: Collection[OperationProgress]) -> None:
        """Follow the operations of one more wait."""
        names = name_all(self._names, members)
        tracks = [Track(names[member.ref], member) for member in members]
        self.tracks += tracks
        self._running += tracks
        self._choose_at = self._updates

    def update(self) -> None:
        """See what is new of those that have not ended."""
        self._updates += 1
        for track in self._running:
            track.update(self._updates)
        self.lost += sum(track.is_lost for track in self._running)
        self._running = [track for track in self._running if not track.is_over]

    @property
    def is_over(self) -> bool:
        """Tell whether all have ended."""
        return not self._running

    @property
    def ended(self) -> int:
        """Count those that have ended, one way or another."""
        return len(self.tracks) - len(self._running)

    @property
    def fraction(self) -> float:
        """Give the mean of all, in which one that has ended counts whole: it never falls."""
        done = self.ended + sum(track.fraction for track in self._running)
        return done / len(self.tracks) if self.tracks else 0.0

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """Give the range in which the last one ends; None unless all are expected."""
        ranges = [track.time_remaining for track in self._running]
        known = [one for one in ranges if one is not None]
        if not known or len(known) < len(ranges):
            return None
        return TimeRemaining(max(one.low for one in known), max(one.high for one in known))

    @property
    def standing(self) -> str:
        """Say how many have ended, and how many of them without success."""
        lost = f", {self.lost} failed" if self.lost else ""
        return f"{self.ended} of {len(self.tracks)} ended{lost}"

    def choose(self, room: int) -> list[Track]:
        """Give those that fit, in their order; of too many the most interesting, the same ones for some updates.

        Lost ones, those next to end and those that changed last share the room; in the end the lost ones have it.
        """
        if len(self.tracks) <= room:
            return self.tracks
        if self._updates >= self._choose_at or len(self._chosen) > room or not self._running:
            chosen = set(islice(dict.fromkeys(self._ranked(room)), room))
            self._chosen = [track for track in self.tracks if track in chosen]
            self._choose_at = self._updates + _CHOSEN_FOR
        return self._chosen

    def _ranked(self, room: int) -> Iterable[Track]:
        share = max(room // 3, 1)
        lost = nlargest(room, (track for track in self.tracks if track.is_lost), key=_newness)
        if not self._running:
            return lost
        near = nsmallest(share, self._running, key=_distance)
        return chain(lost[:share], near, nlargest(room, self.tracks, key=_newness))


def _newness(track: Track) -> int:
    return track.changed


def _distance(track: Track) -> tuple[float, float]:
    remaining = track.time_remaining
    return inf if remaining is None else remaining.high, -track.fraction


def name_all(names: Names | None, members: Collection[OperationProgress]) -> dict[OperationRef, str]:
    """Name operations as the caller does, or else by their own ids, with the schedules' where two are alike."""
    refs = [member.ref for member in members]
    are_unlike = len({ref.operation_id for ref in refs}) == len(refs)
    given = names if callable(names) else (names or {}).get
    return {ref: printable(given(ref) or (ref.operation_id if are_unlike else str(ref))) for ref in refs}


@define(eq=False)
class Traffic:
    """What a session has sent, and for how long a 429 keeps it waiting."""

    _session: SchedulesSession

    def __call__(self) -> str:
        """Write the line."""
        stats = self._session.stats
        seconds = ceil(stats.closed_for)
        return spell_traffic(stats) + (f"; a 429 keeps all waiting for {seconds} s more" if seconds else "")
