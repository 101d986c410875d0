"""Apache httpd: under gzip it adds a suffix to the tag, with which it never answers 304."""

import pytest

from schedules_async import PollingPolicy, SchedulesSession
from servers.running import Server, Site

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(("port", "ending", "is_known"), [("PLAIN", '"', True), ("GZIP", '-gzip"', False)])
async def test_tag_that_apache_forgets_costs_whole_answers_only(
    apache: Server, site: Site, port: str, ending: str, is_known: bool
) -> None:
    ref = site.publish("suffixed", "Started", 10)
    async with SchedulesSession("token", base_url=apache.url(port)) as session:
        first = await session.get_operation(*ref)
        assert first.etag is not None
        assert first.etag.endswith(ending)
        again = await session.get_operation(*ref)
        assert (again == first, again is first) == (True, is_known)
        assert session.stats.not_modified == int(is_known)


async def test_tag_unaltered_by_gzip_gives_a_304(apache: Server, site: Site) -> None:
    ref = site.publish("unaltered", "Started", 10)
    async with SchedulesSession("token", base_url=apache.url("UNALTERED")) as session:
        assert await session.get_operation(*ref) is await session.get_operation(*ref)


async def test_equal_whole_answers_are_no_changes(apache: Server, site: Site) -> None:
    ref, percents = site.publish("silent", "Started", 10), []
    async with SchedulesSession("token", base_url=apache.url("GZIP"), polling=PollingPolicy.fixed(0.02)) as session:
        async for operation in session.wait_for_operation(*ref, timeout=60):
            percents.append(operation.percent_complete)
            if not operation.is_done:
                for _ in range(3):
                    await session.get_operation(*ref)
                site.publish("silent", "Succeeded", 100)
        assert session.stats.not_modified == 0
    assert percents == [10, 100]
