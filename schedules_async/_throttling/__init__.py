"""When a request may leave: the rate limiter and the request queue. Who ends on a 429: `_polling/poller.py`."""
