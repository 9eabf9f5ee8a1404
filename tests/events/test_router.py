"""Recording events and reading them back, over HTTP, on both databases."""

import json
from uuid import UUID, uuid4

import httpx
import pytest

from app.events import listing
from tests.events.support import new_event, post


async def test_a_recorded_event_reads_back_as_documented(client: httpx.AsyncClient) -> None:
    event = new_event(metadata={"path": "a/ü.txt", "size": 12, "ratio": 0.5, "tags": [None, True, {}]})
    created = await post(client, event)
    assert created.status_code == 201
    assert created.json() == {
        "message": "Sync event created successfully",
        "event_id": created.json()["event_id"],
    }
    assert created.headers["Location"] == f"sync-events/{created.json()['event_id']}"
    assert UUID(created.json()["event_id"]).version == 7

    read = await client.get(created.headers["Location"])
    assert read.status_code == 200
    body = read.json()
    assert body["created_at"].endswith("Z")
    assert body == {
        "event_id": created.json()["event_id"],
        "file_id": event["file_id"],
        "event_type": "upload",
        "created_at": body["created_at"],
        "processed": False,
        "processed_at": None,
        "metadata": event["metadata"],
        "position": 1,
        "created_by": "chunker@clients",
        "anomaly": None,
        "state": "pending",
        "attempts": 0,
        "last_error": None,
    }


async def test_an_unknown_event_is_a_problem_document(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/sync-events/{uuid4()}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:sync-service:problem:not-found",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no event with this id.",
        "instance": f"urn:request:{answer.headers['X-Request-ID']}",
        "docs": "../problems/not-found",
    }


async def test_a_batch_is_recorded_in_the_order_given(client: httpx.AsyncClient) -> None:
    events = [new_event(idempotency_key=f"key-{number}") for number in range(1000)]
    answer = await client.post("/sync-events/batch", json={"events": events})
    assert answer.status_code == 201
    assert answer.json()["message"] == "Sync events created successfully"
    newest = (await client.get("/sync-events?limit=1000")).json()
    assert [event["event_id"] for event in reversed(newest)] == answer.json()["event_ids"]
    assert [event["position"] for event in reversed(newest)] == list(range(1, 1001))
    assert [event["file_id"] for event in reversed(newest)] == [event["file_id"] for event in events]

    again = await client.post("/sync-events/batch", json={"events": events})
    assert again.json() == answer.json()
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_a_batch_with_a_reused_key_records_nothing(client: httpx.AsyncClient) -> None:
    await post(client, new_event(), "taken")
    events = [new_event(), new_event(idempotency_key="taken"), new_event()]
    answer = await client.post("/sync-events/batch", json={"events": events})
    assert answer.status_code == 422
    assert len((await client.get("/sync-events")).json()) == 1


async def test_a_batch_of_known_and_new_events_records_the_new_ones(client: httpx.AsyncClient) -> None:
    known = new_event()
    first = await post(client, known, "known")
    twin = new_event(idempotency_key="twin")
    events = [{**known, "idempotency_key": "known"}, twin, twin]
    answer = await client.post("/sync-events/batch", json={"events": events})
    assert answer.status_code == 201
    ids = answer.json()["event_ids"]
    assert ids[0] == first.json()["event_id"]
    assert ids[1] == ids[2]
    assert "Idempotency-Replayed" not in answer.headers
    assert len((await client.get("/sync-events")).json()) == 2


@pytest.mark.parametrize("size", [0, 1001])
async def test_a_batch_has_1_to_1000_events(client: httpx.AsyncClient, size: int) -> None:
    answer = await client.post("/sync-events/batch", json={"events": [new_event()] * size})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "events"]


async def test_lists_are_paged_newest_first_with_links(client: httpx.AsyncClient) -> None:
    await client.post("/sync-events/batch", json={"events": [new_event() for _ in range(25)]})
    seen: list[int] = []
    url: httpx.URL | str | None = "/sync-events?limit=10"
    while url:
        page = await client.get(url)
        seen += [event["position"] for event in page.json()]
        url = page.url.join(page.links["next"]["url"]) if "next" in page.links else None
    assert seen == list(range(25, 0, -1))
    last = await client.get("/sync-events?limit=10&offset=20")
    assert last.links["prev"]["url"] == "?limit=10&offset=10"
    assert [
        len((await client.get("/sync-events")).json()),
        (await client.get("/sync-events?offset=99")).json(),
    ] == [10, []]


async def test_lists_have_the_bytes_of_the_event_on_both_databases(client: httpx.AsyncClient) -> None:
    body = {"file_id": str(uuid4()), "event_type": "upload", "metadata": {"path": 'ä "b": c', "tags": [1, {"a": None}]}}
    location = (await client.post("/sync-events", json=body)).headers["Location"]
    event = (await client.get(f"/{location}")).text
    assert event == json.dumps(json.loads(event), ensure_ascii=False, separators=(",", ":"))
    assert (await client.get("/sync-events")).text == f"[{event}]"
    assert (await client.get(f"/files/{body['file_id']}/events")).text == f"[{event}]"
    changes = (await client.get("/changes")).text
    assert changes == json.dumps(json.loads(changes), ensure_ascii=False, separators=(",", ":"))


async def test_filters_narrow_the_list_and_stay_in_its_links(client: httpx.AsyncClient) -> None:
    file_id = str(uuid4())
    for event_type in ("upload", "update", "update", "delete"):
        await post(client, {"file_id": file_id, "event_type": event_type})
        await post(client, new_event())

    async def positions(query: str) -> list[int]:
        answer = await client.get(f"/sync-events?limit=100&{query}")
        assert answer.status_code == 200, answer.text
        return [event["position"] for event in answer.json()]

    assert await positions(f"file_id={file_id}") == [7, 5, 3, 1]
    assert await positions("event_type=update") == [5, 3]
    assert await positions(f"file_id={file_id.upper()}&event_type=delete") == [7]
    assert (
        await positions("processed=true") == await positions("processed=True") == await positions("processed=1") == []
    )
    assert len(await positions("processed=False")) == len(await positions("processed=0")) == 8
    assert len(await positions("processed=false")) == len(await positions("state=pending")) == 8
    assert await positions("state=failed") == await positions("anomaly=true") == []
    page = await client.get(f"/sync-events?limit=1&file_id={file_id}&offset=1")
    assert page.links["next"]["url"] == f"?file_id={file_id}&limit=1&before_position=5"
    assert (await client.get("/sync-events" + page.links["prev"]["url"])).json()[0]["position"] == 7
    first = await client.get(f"/sync-events?limit=3&processed=false&file_id={file_id}")
    rest = await client.get(first.url.join(first.links["next"]["url"]))
    assert [[event["position"] for event in page.json()] for page in (first, rest)] == [[7, 5, 3], [1]]
    assert "next" not in rest.links


async def test_a_filtered_list_skips_few_events(client: httpx.AsyncClient) -> None:
    await client.post("/sync-events/batch", json={"events": [new_event(), new_event()]})
    for path in ("/sync-events?processed=false&", f"/files/{uuid4()}/events?"):
        answer = await client.get(f"{path}offset=10001")
        assert answer.status_code == 422
        assert "follow the `Link`" in answer.json()["detail"]
        assert answer.json()["errors"][0]["loc"] == ["query", "offset"]
    assert (await client.get("/sync-events?processed=false&offset=10000")).json() == []
    assert (await client.get("/sync-events?offset=10001")).json() == []
    assert [event["position"] for event in (await client.get("/sync-events?before_position=2")).json()] == [1]


async def test_a_page_that_visited_enough_may_be_empty_and_leads_on(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "VISITED_EVENTS", 3)
    file_id = str(uuid4())
    for event_type in ("delete", "update", "update", "update", "update", "update"):
        await post(client, {"file_id": file_id, "event_type": event_type})
    first = await client.get(f"/sync-events?limit=2&file_id={file_id}&event_type=delete")
    assert first.json() == []
    rest = await client.get(first.url.join(first.links["next"]["url"]))
    assert [event["position"] for event in rest.json()] == [1]


async def test_times_bound_the_list_on_both_sides_exclusively(client: httpx.AsyncClient) -> None:
    await client.post("/sync-events/batch", json={"events": [new_event(), new_event()]})
    boundary = (await client.get("/sync-events?limit=1")).json()[0]["created_at"]

    async def count(**query: str) -> int:
        return len((await client.get("/sync-events", params=query)).json())

    assert await count(created_after="2020-01-01T00:00:00Z", created_before="2100-01-01T00:00:00+02:00") == 2
    assert await count(created_after=boundary) == await count(created_before=boundary) == 0
    assert await count(created_after="2100-01-01T00:00:00Z") == await count(created_before="2020-01-01T00:00:00Z") == 0


WRONG_QUERIES = [
    "limit=0",
    "limit=1001",
    "limit=a-dozen",
    "limit=-1",
    "offset=-1",
    "offset=99999999999999999999",
    "event_type=rename",
    "processed=perhaps",
    "processed=2",
    "processed=",
    "file_id=42",
    "created_after=yesterday",
    "created_after=2026-01-01T00:00:00",
    "state=lost",
    "anomaly=",
    "colour=red",
]


async def test_wrong_query_values_are_refused_and_not_echoed(client: httpx.AsyncClient) -> None:
    for query in WRONG_QUERIES:
        answer = await client.get(f"/sync-events?{query}")
        assert answer.status_code == 422, query
        assert len(answer.json()["errors"]) == 1, query
        value = query.partition("=")[2]
        assert len(value) < 3 or value not in answer.text
        assert "colour" not in answer.text


SPELLINGS = ("{}", "{{{}}}", "urn:uuid:{}", "URN:UUID:{}")


@pytest.mark.parametrize("spelling", [*SPELLINGS, "without hyphens"])
async def test_a_file_id_may_be_spelt_as_libraries_do_and_is_shown_in_one_form(
    client: httpx.AsyncClient, spelling: str
) -> None:
    file_id = uuid4()
    spelt = spelling.format(str(file_id).upper()) if spelling in SPELLINGS else file_id.hex
    created = await client.post("/sync-events", json={"file_id": spelt, "event_type": "upload"})
    assert created.status_code == 201, created.text
    [event] = (await client.get("/sync-events", params={"file_id": spelt})).json()
    assert event["file_id"] == str(file_id)
