"""To which of the addresses of a name a connection goes, and what is read from it."""

import asyncio
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpcore
import pytest

from app.outbound import connection
from app.outbound.address import AddressPolicy, AddressRefused
from app.outbound.client import OutboundClient
from app.outbound.connection import Connector, Lookups, NameUnknown
from tests.outbound.support import ANYWHERE, PUBLIC_ONLY
from tests.support.receiver import answer, receiving


class Resolver:
    """Answers in turn with each of `answers`, and with the last one for ever; notes what it was asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.mark.parametrize(
    "addresses",
    [("127.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("8.8.8.8", "::ffff:8.8.8.8"), ("2606:4700::1", "fe80::1%lo")],
    ids=" ".join,
)
async def test_one_address_that_is_not_public_refuses_the_name(addresses: Sequence[str]) -> None:
    with pytest.raises(AddressRefused):
        await Connector(PUBLIC_ONLY, Resolver(addresses)).connect_tcp("example.com", 80)


async def test_the_address_that_was_checked_is_the_one_connected_to() -> None:
    async with receiving() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
        stream = await Connector(ANYWHERE, resolver).connect_tcp("example.com", port)
        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
        await stream.aclose()
    assert resolver.asked == ["example.com"]


async def test_a_name_that_leads_elsewhere_the_second_time_is_refused_then() -> None:
    async with receiving() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        policy = _OnlyLoopbackOne(allow_private=False, ports=frozenset())
        sender = OutboundClient(policy, 5, resolve=Resolver(["127.0.0.1"], ["127.0.0.2"]))
        url = f"http://example.com:{port}/"
        receiver.decide = lambda _request: answer(connection="close")
        assert (await sender.send(url, {}, b"{}")).status_code == 200
        refused = await sender.send(url, {}, b"{}")
        await sender.close()
    assert refused.refused
    assert len(receiver.received) == 1
    assert receiver.received[0].headers["host"] == f"example.com:{port}"


class _OnlyLoopbackOne(AddressPolicy):
    """Takes 127.0.0.1 for the public internet."""

    def check_address(self, ip: str) -> None:
        if ip != "127.0.0.1":
            super().check_address(ip)


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async with receiving() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        stream = await Connector(ANYWHERE, Resolver(["127.0.0.9", "127.0.0.1"])).connect_tcp("a.example", port)
        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
        await stream.aclose()


async def test_a_name_without_an_address_is_unknown() -> None:
    with pytest.raises(NameUnknown):
        await Connector(ANYWHERE, Resolver([])).connect_tcp("a.example", 80)


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 70, "a..b"])
async def test_the_system_knows_no_such_name(host: str) -> None:
    lookups = Lookups()
    try:
        with suppress(NameUnknown):
            assert not await lookups.resolve(host)
    finally:
        lookups.close()


async def test_the_system_knows_this_machine() -> None:
    lookups = Lookups()
    assert "127.0.0.1" in await lookups.resolve("localhost")
    lookups.close()


async def test_a_name_that_hangs_takes_one_thread_and_no_other_name_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    asked: list[str] = []

    def look_up(host: str) -> Sequence[str]:
        asked.append(host)
        if host == "slow.example":
            release.wait(20)
        return ["127.0.0.1"]

    monkeypatch.setattr(connection, "_look_up", look_up)
    lookups = Lookups()
    hanging = [asyncio.create_task(lookups.resolve("slow.example")) for _ in range(2 * connection.MAX_LOOKUPS)]
    async with asyncio.timeout(10):
        assert await lookups.resolve("fast.example") == ["127.0.0.1"]
        hanging.pop().cancel()  # who gives up takes nothing from the others
        await asyncio.sleep(0)
        release.set()
        assert await asyncio.gather(*hanging) == [["127.0.0.1"]] * len(hanging)
    assert sorted(asked) == ["fast.example", "slow.example"]
    lookups.close()


async def test_names_that_hang_give_up_their_places_and_keep_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def look_up(host: str) -> Sequence[str]:
        if host != "fast.example":
            release.wait(20)
        return [host]

    monkeypatch.setattr(connection, "_look_up", look_up)
    monkeypatch.setattr(connection, "LOOKUP_SECONDS", 0.1)
    lookups = Lookups()
    hosts = [f"slow-{number}.example" for number in range(2 * connection.MAX_LOOKUPS)]
    hanging = [asyncio.create_task(lookups.resolve(host)) for host in hosts]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await lookups.resolve("fast.example") == ["fast.example"]
        assert not any(task.done() for task in hanging)
        release.set()
        assert await asyncio.gather(*hanging) == [[host] for host in hosts]
    lookups.close()


async def test_lookups_have_threads_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(busy)
    release = threading.Event()
    occupied = asyncio.get_running_loop().run_in_executor(None, release.wait, 20)
    lookups = Lookups()
    async with asyncio.timeout(10):
        assert await lookups.resolve("localhost")
    release.set()
    await occupied
    lookups.close()


HANGING = """
import asyncio, socket, time
from app.outbound.connection import Lookups

socket.getaddrinfo = lambda *_args, **_options: time.sleep(60)

async def look_up() -> None:
    lookups = Lookups()
    asking = asyncio.create_task(lookups.resolve("slow.example"))
    await asyncio.sleep(0.1)
    lookups.close()
    asking.cancel()

asyncio.run(look_up())
"""


async def test_a_lookup_that_hangs_does_not_keep_the_process_from_ending() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HANGING)
    try:
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_stream_ends_where_an_answer_gets_too_large() -> None:
    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(65_536))
                await writer.drain()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    stream = await Connector(ANYWHERE, Resolver(["127.0.0.1"])).connect_tcp(
        "a.example", server.sockets[0].getsockname()[1]
    )
    for _ in range(2):
        await stream.write(b"x")
        assert sum([len(await stream.read(8192)) for _ in range(8)]) <= connection.MAX_RESPONSE_BYTES
        with pytest.raises(httpcore.ReadError):
            await _read_on(stream)
    await stream.aclose()
    server.close()
    await server.wait_closed()


async def _read_on(stream: httpcore.AsyncNetworkStream) -> None:
    while True:
        await stream.read(8192)
