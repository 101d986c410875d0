"""HAProxy in front of nginx: a tag that is weak on the 200 and strong on the 304, and a 503 in HTML."""

import aiohttp
import pytest

from schedules_async import RetryPolicy, SchedulesSession, ServerError
from servers.running import SCHEDULE, Server, Site

pytestmark = pytest.mark.servers


async def test_304_with_a_strong_tag_matches_weak(haproxy: Server, site: Site) -> None:
    ref = site.publish("compressed on the way", "Started", 10)
    async with SchedulesSession("token", base_url=haproxy.url("GZIP")) as session:
        first = await session.get_operation(*ref)
        assert first.etag is not None
        assert first.etag.startswith("W/")
        async with (
            aiohttp.ClientSession() as http,
            http.get(haproxy.url("GZIP") + ref.path, headers={"If-None-Match": first.etag}) as bare,
        ):
            assert (bare.status, bare.headers["ETag"]) == (304, first.etag.removeprefix("W/"))
        assert await session.get_operation(*ref) is first
        assert (session.stats.requests, session.stats.not_modified) == (2, 1)


async def test_503_in_html_is_retried_and_throttles_nothing(haproxy: Server) -> None:
    retry = RetryPolicy(attempts=3, base=0)
    async with SchedulesSession("token", base_url=haproxy.url("DOWN"), retry=retry) as session:
        with pytest.raises(ServerError) as caught:
            await session.get_operation(SCHEDULE, "operation")
        assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, None, None)
        assert (session.stats.requests, session.stats.retried, session.stats.throttled) == (3, 2, 0)
