"""What a session counts."""

from attrs import frozen


@frozen
class DetectionDelay:
    """How late ends were seen, in seconds: the final answer's `Date` minus the operation's `updatedAt`.

    Counted for operations that this session saw running before; both clocks are the service's, `Date` in
    whole seconds.
    """

    count: int = 0
    mean: float = 0.0
    max: float = 0.0


@frozen
class SessionStats:
    """Counts of one session since it was made.

    `requests` went to the API (token requests do not count), `not_modified` were answered with 304,
    `throttled` with an answer that closed the gate; `retried` are repeats after a fault, `updates` the
    changes seen by waits; `in_flight` requests are under way now, and none leaves for `closed_for` seconds, as a 429
    asked.
    """

    requests: int = 0
    not_modified: int = 0
    throttled: int = 0
    retried: int = 0
    updates: int = 0
    detection_delay: DetectionDelay = DetectionDelay()
    in_flight: int = 0
    closed_for: float = 0.0
