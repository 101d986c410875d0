import base64

import aiohttp
import pytest

from schedules_async.testing import Answer, FakeClock, FakeSchedules
from schedules_async.testing.token_endpoint import read_basic


@pytest.mark.parametrize(
    ("authorization", "pair"),
    [
        ("Basic aWQ6c2VjcmV0", ("id", "secret")),
        ("basic aWQ6c2VjcmV0", ("id", "secret")),
        ("Basic YSUzQWI6YytkJTJC", ("a:b", "c d+")),
        ("Bearer aWQ6c2VjcmV0", None),
        ("Basic ???", None),
        ("Basic aWQ=", ("id", "")),
        ("Basic /w==", None),
        ("", None),
    ],
)
def test_authorization_is_read_as_basic_credentials(authorization: str, pair: tuple[str, str] | None) -> None:
    assert read_basic(authorization) == pair


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
