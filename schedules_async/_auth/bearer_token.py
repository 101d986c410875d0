"""Bearer tokens, which can be sent in a header, and which no repr shows."""

import re

from attrs import frozen

_USABLE = re.compile(r"[\x21-\x7e]+")


@frozen(repr=False)
class BearerToken:
    """A usable token that no repr shows, so that it may appear in the frames of a traceback."""

    text: str

    def __repr__(self) -> str:
        return "<BearerToken>"

    async def get_token(self, *, rejected: str | None = None) -> str:
        """Return the token, even if it was rejected: it is the provider of a session that has one fixed token."""
        del rejected
        return self.text


def to_bearer_token(token: object) -> BearerToken | Exception:
    """Return the token if a header can hold it (RFC 6750 section 2.1), else an error without it.

    If the error were raised here, its traceback would hold the token.
    """
    if not isinstance(token, str):
        return TypeError(f"a token must be a string, not {type(token).__name__}")
    if not _USABLE.fullmatch(token):
        return ValueError("an unusable token: empty, or with a character outside 0x21-0x7E (pass it without 'Bearer ')")
    return BearerToken(token)
