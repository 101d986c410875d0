"""When a request may leave: the rate limiter and the request queue. A 429: `_polling/fetcher.py`, `poller.py`."""
