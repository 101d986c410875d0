"""The counts of a session."""

from attrs import frozen


@frozen
class DetectionDelay:
    """How late ends are found, in seconds: the `Date` of the final answer minus the operation's `updatedAt`.

    Both are times of the service's clock; `Date` is in whole seconds. Only operations that an earlier poll of this
    session found running count.
    """

    count: int = 0
    mean: float = 0.0
    max: float = 0.0


@frozen
class SessionStats:
    """The counts of one session since its creation.

    `requests` is the number of requests sent to the API (token requests do not count), `not_modified` that of 304
    answers, `throttled` that of answers that throttled the session, `retried` that of retries after a transient fault,
    and `updates` that of changes. `in_flight` is the number of requests that await their answer now, and `closed_for`
    the seconds for which the session is still throttled. `learned_from` is the number of ended operations that help to
    predict the ends of others: each that was found running, unless its intervals were fixed or its start is unknown.
    """

    requests: int = 0
    not_modified: int = 0
    throttled: int = 0
    retried: int = 0
    updates: int = 0
    detection_delay: DetectionDelay = DetectionDelay()
    in_flight: int = 0
    closed_for: float = 0.0
    learned_from: int = 0
