"""A minimal server: each operation is Started at the first poll and Succeeded at the second.

Run by cost_of_scale.py. Prints its port, and when its input ends the maximum number of open connections.
"""

import asyncio
import sys
from collections import Counter
from email.utils import formatdate

BODY = (
    '{{"operation": {{"id": "{id}", "status": "{status}", "percentComplete": {percent}, "subStatus": null, '
    '"failureDescription": null, "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}}}}'
)
HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nDate: {date}\r\nETag: "{tag}"'
POLLS: Counter[str] = Counter()


class Answer(asyncio.Protocol):
    """One connection."""

    open = 0
    max_open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        self._transport, self._text = transport, b""
        Answer.open += 1
        Answer.max_open = max(Answer.open, Answer.max_open)

    def connection_lost(self, _: Exception | None) -> None:
        """Stop counting the connection."""
        Answer.open -= 1

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._text += data
        while b"\r\n\r\n" in self._text:
            request, _, self._text = self._text.partition(b"\r\n\r\n")
            if isinstance(self._transport, asyncio.WriteTransport):
                self._transport.write(answer(request.split(b" ", 2)[1].decode()).encode())


def answer(path: str) -> str:
    """Return the answer to the next poll of the operation with that path."""
    identity = path.rpartition("/")[2]
    POLLS[identity] += 1
    status, percent = ("Started", 10) if POLLS[identity] == 1 else ("Succeeded", 100)
    body = BODY.format(id=identity, status=status, percent=percent)
    head = HEAD.format(length=len(body), date=formatdate(usegmt=True), tag=status + identity)
    return f"{head}\r\n\r\n{body}"


async def main() -> None:
    """Serve until the input ends."""
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(Answer.max_open, flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
