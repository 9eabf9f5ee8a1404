"""Hostile bodies over HTTP, on both databases: each gets a clear 4xx that does not echo it, and nothing is recorded."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest

FILE_ID = "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"
GOOD = f'{{"file_id":"{FILE_ID}","event_type":"upload"}}'.encode()
MARK = "EVIL"  # in every hostile body, in no answer
JSON = {"Content-Type": "application/json"}


def event(**members: Any) -> bytes:
    return json.dumps({"file_id": FILE_ID, "event_type": "upload", **members}).encode()


def with_metadata(raw: bytes) -> bytes:
    return GOOD[:-1] + b',"metadata":' + raw + b"}"


def nested(levels: int, innermost: Any = MARK) -> dict[str, Any]:
    value: dict[str, Any] = {"a": innermost}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def sized(size: int) -> bytes:
    """Metadata of exactly so many bytes; `ü` takes two."""
    raw = b'{"' + MARK.encode() + b'":"\xc3\xbc' + b"x" * (size - 13) + b'"}'
    assert len(raw) == size
    return raw


NOT_JSON = {
    "empty": b"",
    "cut off": GOOD[:-1] + b',"EVIL',
    "raw NUL": with_metadata(b'{"a":"EVIL\x00"}'),
    "escaped NUL": with_metadata(b'{"a":"EVIL\\u0000"}'),
    "escaped NUL in a name": with_metadata(b'{"EVIL\\u0000":1}'),
    "NUL at the end": GOOD + b"\x00",
    "raw surrogate": with_metadata(b'{"a":"EVIL\xed\xa0\x80"}'),
    "escaped surrogate": with_metadata(b'{"a":"EVIL\\ud800"}'),
    "escaped surrogate in a name": with_metadata(b'{"EVIL\\udfff":1}'),
    "surrogates the wrong way round": with_metadata(b'{"a":["EVIL\\udc00\\ud800"]}'),
    "NaN": with_metadata(b'{"EVIL":NaN}'),
    "Infinity": with_metadata(b'{"EVIL":-Infinity}'),
    "1e400": with_metadata(b'{"EVIL":1e400}'),
    "65 bits": with_metadata(b'{"EVIL":18446744073709551616}'),
    "5000 digits": with_metadata(b'{"EVIL":' + b"7" * 5000 + b"}"),
    "100,000 brackets": with_metadata(b'{"EVIL":' + b"[" * 100_000),
    "20,000 closed brackets": with_metadata(b'{"EVIL":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    "invalid UTF-8": with_metadata(b'{"a":"EVIL\xff"}'),
    "overlong UTF-8": with_metadata(b'{"a":"EVIL\xc0\xaf"}'),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-be"),
    "a name twice": GOOD[:-1] + b',"event_type":"EVIL"}',
    "a name twice, once escaped": GOOD[:-1] + b',"\\u0066ile_id":"EVIL"}',
    "a name twice in metadata": with_metadata(b'{"EVIL":1,"EVIL":2}'),
    "a comment": b"/* EVIL */" + GOOD,
    "a form": b"file_id=EVIL&event_type=upload",
    "two documents": GOOD + b'"EVIL"',
}
NOT_AN_EVENT = {
    "metadata of 16385 bytes": with_metadata(sized(16_385)),
    "metadata of 33 levels": event(metadata=nested(33)),
    "metadata of 33 levels of lists": event(metadata={"a": json.loads("[" * 32 + '"EVIL"' + "]" * 32)}),
    **{f"metadata is {value!r}": event(metadata=value) for value in (["EVIL"], "EVIL", 1, True, [], "", [["EVIL", 1]])},
    **{
        f"event_type is {value!r}": event(event_type=value)
        for value in ("EVIL", "UPLOAD", "upload ", "", 0, True, None, ["upload"], {"EVIL": 1}, "EVIL\n\x1b[31m")
    },
    **{
        f"file_id is {value!r}": event(file_id=value)
        for value in (
            "EVIL",
            FILE_ID.replace("-", "", 1),
            f"{{{FILE_ID}",
            f"uuid:{FILE_ID}",
            f"{FILE_ID}\n",
            f" {FILE_ID}",
            FILE_ID[:-1] + "\N{FULLWIDTH DIGIT ONE}",
            "",
            int(FILE_ID[:8], 16),
            None,
            [FILE_ID],
            {"EVIL": 1},
        )
    },
    "an unknown field": event(**{"EVIL!": 1}),
    "5,000 unknown fields": event(**{f"EVIL!{number}": 1 for number in range(5_000)}),
    "no file_id": b'{"event_type":"upload"}',
    "no event_type": b'{"file_id":"' + FILE_ID.encode() + b'"}',
    "an empty object": b"{}",
    **{f"top level is {raw!r}": raw for raw in (b"null", b"[]", b'"EVIL"', b"1", b"true", b'[{"EVIL":1}]')},
}
NOT_A_BATCH = {
    "no events": b"{}",
    "no list": b'{"events":{"EVIL":1}}',
    "none": b'{"events":[]}',
    "an unknown field": b'{"events":[' + GOOD + b'],"EVIL!":1}',
    "1001": b'{"events":[' + b",".join([GOOD] * 1001) + b"]}",
    "a million": b'{"events":[' + b",".join([b"{}"] * 1_000_000) + b"]}",
    **{
        f"idempotency_key is {value!r}": b'{"events":[' + event(idempotency_key=value) + b"]}"
        for value in ("", "EVIL EVIL", "EVIL\n", "EVIL\N{LATIN SMALL LETTER U WITH DIAERESIS}", "x" * 256, 1, ["EVIL"])
    },
}
ACCEPTED = {
    "metadata of 16384 bytes": with_metadata(sized(16_384)),
    "metadata of 16384 bytes and more white space": with_metadata(sized(16_384) + b" " * 100_000),
    "metadata of 32 levels": event(metadata=nested(32)),
    "metadata null": event(metadata=None),
    "64 bits": with_metadata(b'{"a":[9223372036854775807,-9223372036854775808,1.7e308,5e-324]}'),
    "5000 digits of a fraction": with_metadata(b'{"a":0.' + b"7" * 5000 + b"}"),
    "an escaped pair": with_metadata(b'{"\\ud83d\\ude00":"\xf0\x9f\x98\x80"}'),
    "an upper-case id": event(file_id=FILE_ID.upper()),
}


def in_batch(raw: bytes) -> bytes:
    return b'{"events":[' + GOOD + b"," + raw + b"]}"


def batches(bodies: dict[str, bytes]) -> Iterable[tuple[str, bytes]]:
    return ((label, in_batch(raw)) for label, raw in bodies.items())


def assert_refused(answer: httpx.Response, status: int, label: str) -> None:
    assert answer.status_code == status, f"{label}: {answer.status_code} {answer.text[:300]}"
    assert answer.headers["Content-Type"] == "application/problem+json", label
    body = answer.json()
    assert body["status"] == status
    assert body["detail"], label
    assert MARK not in answer.text, f"{label}: {answer.text[:300]}"
    assert len(answer.text) < 50_000, label
    if status == 422:
        assert body["errors"], label
        assert all(error["loc"][0] == "body" and error["msg"] for error in body["errors"]), label


async def assert_nothing_recorded(client: httpx.AsyncClient) -> None:
    """Also that the service still records: the next event is the first."""
    assert (await client.get("/sync-events")).json() == []
    assert (await client.post("/sync-events", content=GOOD, headers=JSON)).status_code == 201
    assert [event["position"] for event in (await client.get("/sync-events")).json()] == [1]


async def test_hostile_events_are_refused(client: httpx.AsyncClient) -> None:
    for label, raw in {**NOT_JSON, **NOT_AN_EVENT}.items():
        assert_refused(await client.post("/sync-events", content=raw, headers=JSON), 422, label)
    await assert_nothing_recorded(client)


async def test_one_hostile_event_spoils_its_batch(client: httpx.AsyncClient) -> None:
    for label, raw in (*batches(NOT_JSON), *batches(NOT_AN_EVENT), *NOT_A_BATCH.items()):
        assert_refused(await client.post("/sync-events/batch", content=raw, headers=JSON), 422, label)
    await assert_nothing_recorded(client)


async def test_what_is_just_within_the_limits_is_recorded_as_it_is(client: httpx.AsyncClient) -> None:
    for label, raw in ACCEPTED.items():
        for url, body in (("/sync-events", raw), ("/sync-events/batch", in_batch(raw))):
            answer = await client.post(url, content=body, headers=JSON)
            assert answer.status_code == 201, f"{label}: {answer.text}"
            newest = (await client.get("/sync-events?limit=1")).json()[0]
            assert newest["metadata"] == json.loads(raw).get("metadata"), label
            assert newest["file_id"] == FILE_ID, label


NOT_DECLARED = [
    {},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": "application/json; charset=EVIL"},
    {"Content-Type": "EVIL"},
    {"Content-Type": "application/json", "Content-Encoding": "gzip"},
]


@pytest.mark.parametrize("url", ["/sync-events", "/sync-events/batch"])
async def test_what_is_not_declared_as_json_gets_415(client: httpx.AsyncClient, url: str) -> None:
    body = GOOD if url == "/sync-events" else b'{"events":[' + GOOD + b"]}"
    for headers in NOT_DECLARED:
        assert_refused(await client.post(url, content=body, headers=headers), 415, str(headers))
    assert (await client.post(url, content=body, headers=JSON)).status_code == 201


async def test_without_a_token_no_byte_of_a_body_is_read(anonymous: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was asked for")
        yield b""

    for url in ("/sync-events", "/sync-events/batch"):
        for headers in ({}, {"Authorization": "Bearer EVIL"}):
            answer = await anonymous.post(url, content=body(), headers={**JSON, **headers})
            assert_refused(answer, 401, url)
            for label, raw in NOT_JSON.items():
                assert_refused(await anonymous.post(url, content=raw, headers={**JSON, **headers}), 401, label)
