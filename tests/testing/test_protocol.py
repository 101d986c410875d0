import base64

import aiohttp
import pytest

from schedules_async._operations.ref import OperationRef
from schedules_async.testing import Answer, FakeClock, FakeSchedules
from schedules_async.testing.protocol import check_client, check_token, matches, read_path


@pytest.mark.parametrize(
    ("path", "prefix", "ref"),
    [
        ("/schedules/s/operations/o", "", OperationRef("s", "o")),
        ("/schedules/s/operations/o?x=1", "", OperationRef("s", "o")),
        ("/schedules/a%2Fb/operations/%C3%A9", "", OperationRef("a/b", "é")),
        ("/api/schedules/s/operations/o", "/api", OperationRef("s", "o")),
        ("/api/schedules/s/operations/o", "", None),
        ("/schedules/s/operations/o", "/api", None),
        ("/schedules/s/operations/o/", "", None),
        ("/schedules/s/operations/", "", None),
        ("/schedules/s", "", None),
        ("/schedules/../operations/o", "", None),
        ("/schedules/%FF/operations/o", "", None),
        ("*", "", None),
    ],
)
def test_path_is_read_as_ref_or_none(path: str, prefix: str, ref: OperationRef | None) -> None:
    assert read_path(path, prefix) == ref


@pytest.mark.parametrize(
    ("header", "token", "is_valid"),
    [
        ("Bearer abc", "abc", True),
        ("bearer  abc ", "abc", True),
        ("Bearer abc", "other", False),
        ("Basic abc", "abc", False),
        ("Bearer", "", True),
        ("", "", False),
    ],
)
def test_authorization_is_read_as_bearer_token(header: str, token: str, is_valid: bool) -> None:
    assert (check_token(header, {token}) is None) is is_valid


@pytest.mark.parametrize(
    ("condition", "etag", "expected"),
    [
        ('"a"', '"a"', True),
        ('"b"', '"a"', False),
        ('W/"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('"x", W/"y,z" ,"a"', '"a"', True),
        ('"y,a"', '"a"', False),
        ("*", '"a"', True),
        (" * ", '"a"', True),
        ('"*"', '"a"', False),
        ("a", '"a"', False),
        ("", '"a"', False),
        (None, '"a"', False),
        ("*", None, True),
        ('"a"', None, False),
        ('"y, "a"', '"a"', True),
        ('"y" "a"', '"a"', False),
        ('"a" x, "a"x', '"a"', False),
        (', ,"a",,', '"a"', True),
        ('"x", "y,z"', '"y,z"', True),
        ('*, "x"', '"a"', False),
        ('w/"a", W/ "a", W/W/"a"', '"a"', False),
    ],
)
def test_condition_matches_etag_as_in_rfc_9110(condition: str | None, etag: str | None, expected: bool) -> None:
    assert matches(condition, etag) is expected


@pytest.mark.parametrize(
    ("authorization", "client", "is_known"),
    [
        ("Basic aWQ6c2VjcmV0", ("id", "secret"), True),
        ("basic aWQ6c2VjcmV0", ("id", "secret"), True),
        ("Basic YSUzQWI6YytkJTJC", ("a:b", "c d+"), True),
        ("Basic YSUzQWIlM0FjK2QlMkI=", ("a:b", "c d+"), False),
        ("Basic YTpiOmMgZCs=", ("a:b", "c d+"), False),
        ("Basic aWQlM0FzZWNyZXQ=", ("id", "secret"), False),
        ("Basic aWQ6c2VjcmV0", ("id", "other"), False),
        ("Bearer aWQ6c2VjcmV0", ("id", "secret"), False),
        ("Basic ???", ("", ""), False),
        ("Basic aWQ=", ("id", ""), False),
        ("Basic /w==", ("", ""), False),
        ("", ("", ""), False),
    ],
)
def test_client_is_read_from_basic_credentials(authorization: str, client: tuple[str, str], is_known: bool) -> None:
    assert (check_client("POST", authorization, client) is None) is is_known


@pytest.mark.parametrize(
    ("method", "client", "status"),
    [
        ("POST", "test-client:test-secret", 200),
        ("POST", "test-client:wrong", 401),
        ("POST", None, 401),
        ("GET", "test-client:test-secret", 405),
    ],
)
async def test_only_known_client_gets_token(
    server: FakeSchedules, method: str, client: str | None, status: int
) -> None:
    headers = {"Authorization": f"Basic {base64.b64encode(client.encode()).decode()}"} if client else {}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, server.token_url, data={"grant_type": "client_credentials"}) as response,
    ):
        assert response.status == status
        grant = await response.json()
    if status == 200:
        assert grant == {
            "access_token": "test-token-1",
            "token_type": "Bearer",
            "expires_in": 3600.0,
            "scope": "itwin-platform",
        }
        assert response.headers["Cache-Control"] == "no-store"
    assert [request.status for request in server.token_requests] == [status]
    assert server.requests == []


async def test_token_is_valid_until_it_expires(clock: FakeClock) -> None:
    async with FakeSchedules(clock=clock, prefix="/prefix", token_life=100) as server:
        ref = server.start_operation(duration=1000)
        token = await server.credentials().get_token()
        other = await server.credentials().get_token()
        server.reject_token(other)
        async with aiohttp.ClientSession() as http:

            async def status_with(token: str) -> int:
                headers = {"Authorization": f"Bearer {token}"}
                async with http.get(server.url_of(ref), headers=headers) as response:
                    return response.status

            assert [await status_with(one) for one in (token, other, "test-token-3")] == [200, 401, 401]
            await clock.sleep(99)
            assert await status_with(token) == 200
            await clock.sleep(1)
            assert await status_with(token) == 401
            assert await status_with(server.token) == 200


async def test_interrupt_tokens_replaces_next_answers(server: FakeSchedules) -> None:
    server.interrupt_tokens(Answer(503), Answer(200, {"access_token": "another"}))
    credentials = server.credentials()
    assert await credentials.get_token() == "another"
    assert await credentials.get_token(rejected="another") == "test-token-1"
    assert [request.status for request in server.token_requests] == [503, 200, 200]
