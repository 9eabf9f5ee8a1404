"""Bodies of many megabytes get a 413 that costs nothing, in-process and from a real server, on both databases."""

from collections.abc import AsyncIterator, Callable, Iterator

import httpx

from app.main import create_app
from tests.conftest import MakeSettings
from tests.events.test_hostile_bodies import GOOD, JSON, MARK, assert_nothing_recorded, assert_refused
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory

CHUNK = MARK.encode() * 16_384
TEN_MEGABYTES = CHUNK * 160
MAX_EVENT_BYTES, MAX_BATCH_BYTES = 131_072, 4_194_304


class Upload:
    """A body without a length, which counts what is read of it."""

    def __init__(self, chunks: int) -> None:
        self.left = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.left:
            self.left -= 1
            yield CHUNK


def upload_from_a_thread() -> Iterator[bytes]:
    for _ in range(160):
        yield CHUNK


async def test_ten_megabytes_are_no_event(client: httpx.AsyncClient) -> None:
    assert_refused(await client.post("/sync-events", content=TEN_MEGABYTES, headers=JSON), 413, "declared")
    upload = Upload(160)
    assert_refused(await client.post("/sync-events", content=upload, headers=JSON), 413, "undeclared")
    assert 160 - upload.left == MAX_EVENT_BYTES // len(CHUNK) + 1
    await assert_nothing_recorded(client)


async def test_a_batch_has_a_limit_of_its_own(client: httpx.AsyncClient) -> None:
    assert_refused(await client.post("/sync-events/batch", content=CHUNK * 60, headers=JSON), 422, "allowed")
    answer = await client.post("/sync-events/batch", content=TEN_MEGABYTES, headers=JSON)
    assert_refused(answer, 413, "declared")
    upload = Upload(1000)
    assert_refused(await client.post("/sync-events/batch", content=upload, headers=JSON), 413, "undeclared")
    assert 1000 - upload.left == MAX_BATCH_BYTES // len(CHUNK) + 1
    await assert_nothing_recorded(client)


async def test_the_limits_are_settings_and_are_met_exactly(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    headers = {**JSON, "Authorization": f"Bearer {tokens.token()}"}
    app = create_app(make_settings(max_event_bytes=1024, max_batch_bytes=2048))
    async with serve_in_process(app) as client:
        for url, body, limit in (
            ("/sync-events", GOOD, 1024),
            ("/sync-events/batch", b'{"events":[' + GOOD + b"]}", 2048),
        ):
            answer = await client.post(url, content=body.ljust(limit), headers=headers)
            assert answer.status_code == 201, answer.text
            answer = await client.post(url, content=body.ljust(limit + 1), headers=headers)
            assert_refused(answer, 413, url)
            assert str(limit) in answer.json()["detail"]


async def test_a_large_body_is_no_way_around_the_other_checks(client: httpx.AsyncClient) -> None:
    plain = {"Content-Type": "text/plain"}
    assert_refused(await client.post("/sync-events", content=TEN_MEGABYTES, headers=plain), 415, "type")
    assert_refused(await client.post("/nowhere", content=TEN_MEGABYTES, headers=JSON), 404, "path")
    assert_refused(await client.put("/sync-events", content=TEN_MEGABYTES, headers=JSON), 405, "method")
    del client.headers["Authorization"]
    for url in ("/sync-events", "/sync-events/batch"):
        answer = await client.post(url, content=TEN_MEGABYTES * 3, headers=JSON)
        assert_refused(answer, 401, url)
        assert answer.headers["X-Request-ID"]


@on_sqlite
def test_a_real_server_answers_early_and_goes_on(
    start_service: Callable[..., ServiceProcess], tokens: TokenFactory
) -> None:
    service = start_service()
    authorized = {**JSON, "Authorization": f"Bearer {tokens.token()}"}
    with httpx.Client(base_url=service.url) as client:
        for headers, status in ((authorized, 413), (JSON, 401)):
            for body in (TEN_MEGABYTES, upload_from_a_thread()):
                assert_refused(client.post("/sync-events", content=body, headers=headers), status, "real")
        assert client.post("/sync-events", content=GOOD, headers=authorized).status_code == 201
        assert len(client.get("/sync-events", headers=authorized).json()) == 1
