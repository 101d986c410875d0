"""Bearer tokens, which can be sent in a header, and which no repr shows."""

import re

from attrs import frozen

_USABLE = re.compile(r"[\x21-\x7e]+")


@frozen(repr=False)
class BearerToken:
    """A token that no repr shows, so that it may appear in the frames of a traceback."""

    text: str

    def __repr__(self) -> str:
        return "<BearerToken>"

    def check(self) -> "BearerToken":
        """Return the token itself; raise TypeError or ValueError if no header can hold it (RFC 6750 section 2.1)."""
        if not isinstance(self.text, str):
            raise TypeError(f"a token must be a string, not {type(self.text).__name__}")
        if not _USABLE.fullmatch(self.text):
            raise ValueError(
                "an unusable token: empty, or with a character outside 0x21-0x7E (pass it without 'Bearer ')"
            )
        return self
