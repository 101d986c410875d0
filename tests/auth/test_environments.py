"""The hosts, letter by letter: a token goes nowhere else."""

import pytest

from schedules_async._auth.environments import DEV, PRODUCTION, QA, Environment


@pytest.mark.parametrize(
    ("environment", "api", "identity"),
    [
        (DEV, "https://dev-api.bentley.com", "https://qa-ims.bentley.com"),
        (QA, "https://qa-api.bentley.com", "https://qa-ims.bentley.com"),
        (PRODUCTION, "https://api.bentley.com", "https://ims.bentley.com"),
    ],
)
def test_environments_have_their_hosts(environment: Environment, api: str, identity: str) -> None:
    assert environment == Environment(api_url=api, token_url=f"{identity}/connect/token")
    assert hash(environment) == hash(Environment(api, f"{identity}/connect/token"))
