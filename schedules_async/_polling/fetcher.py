"""One fetch: a conditional GET of an operation with a bearer token, once the request queue grants a turn."""

from collections import Counter
from collections.abc import Callable, MutableMapping

from attrs import define, field

from schedules_async._auth.tokens import Tokens
from schedules_async._hooks import Hooks
from schedules_async._http.aiohttp_gaps import NotSentError, StaleConnectionError
from schedules_async._http.responses import BearerToken, Fetched, read_answer
from schedules_async._http.retry import RetryPolicy, backoff_delay
from schedules_async._http.transport import Transport
from schedules_async._operations.base_errors import SchedulesError, copy_error
from schedules_async._operations.fields import parse_tag
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async._throttling.request_queue import RequestQueue, Turn
from schedules_async.errors import NotFoundError, ResponseError, TransportError
from schedules_async.events import OutageEnded, Throttled

_MAX_UNUSABLE = 2  # 304s in a row that refer to no held snapshot


@define(eq=False, repr=False)
class Fetcher:
    """Fetches operations for one session; learns from each answer when the next request may leave."""

    _transport: Transport
    _tokens: Tokens
    _queue: RequestQueue
    _snapshots: MutableMapping[OperationRef, Operation]
    _retry: RetryPolicy
    _counts: "Counter[str]"
    _hooks: Hooks
    _random: Callable[[], float]
    _unusable: "Counter[OperationRef]" = field(init=False, factory=Counter)  # unusable 304s in a row
    _outage_since: float | None = field(init=False, default=None)  # set from the first retry to the next answer
    throttled_by: ResponseError | None = field(init=False, default=None)  # the answer that last closed the gate
    on_recovery: Callable[[], object] = field(init=False)  # set by the pool, called when an outage is over

    async def fetch(self, ref: OperationRef, turn: Turn) -> Fetched:
        """Send one GET for an operation; return the snapshot in the answer, or raise the error that the answer means.

        `turn` has been granted; the bearer token is obtained just before the request leaves. After a 401 one more
        request is sent with a renewed token, and after a 304 that refers to no held snapshot, one without a tag; each
        waits for another turn. The caller gives the last turn back, in case no request used it.
        """
        token, held = self._tokens.fixed or await self._tokens.get(), self._find_held(ref)
        status, outcome = await self._send(ref, turn, token, held)
        repeatable = {304, 401} if self._tokens.fixed is None else {304}  # statuses, each of them once
        while status in repeatable and not isinstance(outcome, Fetched):
            repeatable.remove(status)
            await self._queue.next_turn(turn)
            if status == 401:
                rejected, token = token, await self._tokens.renew(token)
                if token == rejected:
                    break
                held = self._find_held(ref) if 304 in repeatable else None
            else:
                held, token = None, self._tokens.fixed or await self._tokens.get()
                self._unusable[ref] += 1
            status, outcome = await self._send_again(ref, turn, token, held)
        if held is not None and isinstance(outcome, Fetched):
            self._unusable.pop(ref, None)
        return self._keep_or_raise(ref, outcome)

    def lend(self, operation: Operation) -> None:
        """Store a checkpoint's snapshot, unless the session holds one; the first request then carries its tag."""
        self._snapshots.setdefault(operation.ref, operation)

    def _find_held(self, ref: OperationRef) -> Operation | None:
        """Return the snapshot that the session holds, or None if a caller's mapping returns anything else.

        Also return None for an operation after two unusable 304s in a row: its tag is sent no more.
        """
        if self._unusable and self._unusable[ref] >= _MAX_UNUSABLE:
            return None
        held = self._snapshots.get(ref)
        if not isinstance(held, Operation) or (held.schedule_id, held.id) != (ref.schedule_id, ref.operation_id):
            return None
        return held if held.etag is None or parse_tag((held.etag,)) is not None else None

    async def _send(
        self, ref: OperationRef, turn: Turn, token: BearerToken, held: Operation | None
    ) -> tuple[int, Fetched | SchedulesError]:
        """Send one request; learn from its answer, give the turn back, and return the answer's status and meaning."""
        was_sent, sent_at = True, self._queue.timers.now()
        self._counts["requests"] += 1
        self._counts["in_flight"] += 1
        try:
            answer = await self._transport.get(ref, token, None if held is None else held.etag)
            outcome = read_answer(ref, held, answer)
            self._learn(ref, outcome, turn.granted_at)
        except TransportError:
            self._queue.limiter.fault()
            raise
        except NotSentError:
            was_sent = False
            self._counts["requests"] -= 1
            raise
        finally:
            self._counts["in_flight"] -= 1
            turn.seconds = self._queue.timers.now() - sent_at
            turn.give_back(was_sent=was_sent)
        return answer.status, outcome

    async def _send_again(
        self, ref: OperationRef, turn: Turn, token: BearerToken, held: Operation | None
    ) -> tuple[int, Fetched | SchedulesError]:
        """Send a further request of a fetch; if its connection is stale, repeat this one alone."""
        while True:
            try:
                return await self._send(ref, turn, token, held)
            except StaleConnectionError:
                await self._queue.next_turn(turn)

    def _learn(self, ref: OperationRef, outcome: Fetched | SchedulesError, sent: float) -> None:
        """Learn from an answer; a 429, or a 503 with Retry-After, closes the gate for the whole session."""
        limiter, now, since = self._queue.limiter, self._queue.timers.now(), self._outage_since
        if isinstance(outcome, ResponseError) and outcome.is_throttling:
            self._counts["throttled"] += 1
            was_open, delay = limiter.closed_until <= now, outcome.retry_after
            if not delay:  # no Retry-After, or zero: the session's own backoff, between half and all of it
                retry = max(limiter.throttled_in_a_row + (sent >= limiter.closed_until), 1)
                delay = backoff_delay(self._retry, retry, 0.5 + 0.5 * self._random())
            if limiter.throttle(now, sent, now + delay):
                self.throttled_by = outcome
            self._hooks.emit(Throttled(ref, copy_error(outcome), limiter.closed_until - now, was_open))
        elif isinstance(outcome, ResponseError) and outcome.is_transient:
            limiter.fault()
        else:
            if since is not None:
                self._hooks.emit(OutageEnded(now - since))
                self._outage_since = None
            if limiter.accept(now):
                self.on_recovery()

    def begin_outage(self, now: float) -> bool:
        """Note a retry; return True for the first one since the service last answered."""
        if self._outage_since is not None:
            return False
        self._outage_since = now
        return True

    def _keep_or_raise(self, ref: OperationRef, outcome: Fetched | SchedulesError) -> Fetched:
        """Keep the snapshot of an answer and return it, or raise the error, of which only a 404 drops the snapshot."""
        if isinstance(outcome, SchedulesError):
            if isinstance(outcome, NotFoundError):
                self._snapshots.pop(ref, None)
            raise outcome
        self._counts["not_modified"] += outcome.is_not_modified
        if not outcome.is_kept:
            self._snapshots.pop(ref, None)
        elif not outcome.is_not_modified:
            self._snapshots[ref] = outcome.operation
        return outcome
