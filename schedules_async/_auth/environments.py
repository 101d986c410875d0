"""The deployments of the service, and their URLs."""

from attrs import frozen


@frozen
class Environment:
    """One deployment of the service: the URL of its API, and that of the token endpoint of its identity server.

    >>> PRODUCTION.api_url, PRODUCTION.token_url
    ('https://api.bentley.com', 'https://ims.bentley.com/connect/token')
    """

    api_url: str
    token_url: str


# The dev API trusts QA's identity server; there is none for dev.
DEV = Environment("https://dev-api.bentley.com", "https://qa-ims.bentley.com/connect/token")
QA = Environment("https://qa-api.bentley.com", "https://qa-ims.bentley.com/connect/token")
PRODUCTION = Environment("https://api.bentley.com", "https://ims.bentley.com/connect/token")
