"""Where the service lives."""

from attrs import frozen


@frozen
class Environment:
    """The hosts of one deployment: the API's, and the token endpoint of its identity server.

    >>> PRODUCTION.api_url, PRODUCTION.token_url
    ('https://api.bentley.com', 'https://ims.bentley.com/connect/token')
    """

    api_url: str
    token_url: str


# The dev API trusts QA's identity server; there is none for dev.
DEV = Environment("https://dev-api.bentley.com", "https://qa-ims.bentley.com/connect/token")
QA = Environment("https://qa-api.bentley.com", "https://qa-ims.bentley.com/connect/token")
PRODUCTION = Environment("https://api.bentley.com", "https://ims.bentley.com/connect/token")
