"""`python -m benchmarks.owner PORT`: serves an inventory of as many files as the path names.

`GET /{files}/inventory?after=&limit=` lists the files 1, 2, 3, … of `benchmarks.fill.fill_files`, made on
request; any other GET gets 200. A bare protocol on uvloop, so that it never limits the client.
"""

import asyncio
import re
import sys
from typing import cast
from uuid import UUID

import uvloop

_PAGE = re.compile(rb"GET /(\d+)/inventory\?(?:after=([0-9a-f-]{36})&)?limit=(\d+) ")
_HEAD_ENDS = b"\r\n\r\n"


class Owner(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport that responses are written to."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type

    def data_received(self, data: bytes) -> None:
        """Respond to every complete request."""
        *heads, self._buffer = (self._buffer + data).split(_HEAD_ENDS)
        for head in heads:
            asked = _PAGE.match(head)
            body = make_page(int(asked[1]), asked[2] or b"0" * 32, int(asked[3])) if asked else b"{}"
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


def make_page(files: int, after: bytes, limit: int) -> bytes:
    """The page after the file `after` of an inventory of so many files; each has its number as its size."""
    first = UUID(after.decode()).int + 1
    last = min(first + limit - 1, files)
    items = ",".join(f'{{"file_id":"{UUID(int=number)}","size":{number}}}' for number in range(first, last + 1))
    following = f'"{UUID(int=last)}"' if last < files else "null"
    return f'{{"items":[{items}],"next":{following},"total":{files},"watermark":{files}}}'.encode()


async def main(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Owner, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
