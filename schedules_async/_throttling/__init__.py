"""When a request may leave: the rate limiter and the request queue."""
