"""Connections that are refused, hang or fail in TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from app.deliveries.policy import classify
from app.outbound.client import OutboundClient
from app.subscriptions.models import Outcome
from tests.outbound.support import ANYWHERE, BODY, TIMEOUT_SECONDS, impatient, loopback, raw
from tests.support.ports import ReservedPort
from tests.support.receiver import Receiver, Reply, hang, receiving


async def test_nobody_there_is_unreachable(sender: OutboundClient) -> None:
    silent = ReservedPort()
    result = await sender.send(f"http://127.0.0.1:{silent.number}/", {}, BODY)
    assert (result.unreachable, classify(result)) == (True, Outcome.UNREACHABLE)
    assert result.error == "the connection was refused"


async def test_a_name_without_an_address_is_unreachable(sender: OutboundClient) -> None:
    result = await sender.send("http://nothing.invalid/", {}, BODY)
    assert (result.error, classify(result)) == ("the host name has no address", Outcome.UNREACHABLE)


async def test_a_connection_that_is_not_made_in_time_is_unreachable() -> None:
    async def never(_host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    sender = OutboundClient(ANYWHERE, TIMEOUT_SECONDS, resolve=never)
    result = await sender.send("http://slow.example/", {}, BODY)
    await sender.close()
    assert (result.error, classify(result)) == ("no connection within 0.5 seconds", Outcome.UNREACHABLE)


async def test_a_tls_handshake_that_hangs_is_unreachable() -> None:
    async with impatient() as sender, receiving(_listening(hang)) as receiver:
        result = await sender.send(receiver.url.replace("http:", "https:"), {}, BODY)
    assert classify(result) is Outcome.UNREACHABLE


async def test_what_answers_without_tls_is_unreachable_over_https(sender: OutboundClient) -> None:
    async with receiving(_listening(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))) as receiver:
        result = await sender.send(receiver.url.replace("http:", "https:"), {}, BODY)
    assert (result.error, classify(result)) == ("TLS failed", Outcome.UNREACHABLE)


class _listening(Receiver):  # noqa: N801 - reads like the function it stands for
    """A receiver that replies without having read a request."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self._reply = reply

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await self._reply(reader, writer)


@asynccontextmanager
async def _https(*names: str) -> AsyncIterator[tuple[int, trustme.CA]]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    receiver = Receiver()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], authority
    finally:
        server.close()
        await server.wait_closed()


async def test_tls_is_verified(sender: OutboundClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _https("good.example", "127.0.0.1") as (port, authority):
        untrusted = await sender.send(f"https://127.0.0.1:{port}/", {}, BODY)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        trusting = OutboundClient(ANYWHERE, 20, resolve=loopback)
        trusted = [await trusting.send(f"https://{host}:{port}/", {}, BODY) for host in ("good.example", "127.0.0.1")]
        misnamed = await trusting.send(f"https://bad.example:{port}/", {}, BODY)
        await trusting.close()
    assert [one.status_code for one in trusted] == [200, 200]
    for result in (untrusted, misnamed):
        assert classify(result) is Outcome.UNREACHABLE
        assert (result.error or "").startswith("the TLS certificate is not trusted: ")
    assert "bad.example" in (misnamed.error or "")
