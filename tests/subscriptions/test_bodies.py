"""What is wrong in a body is refused with its place, and nothing of it comes back; on both databases."""

from typing import Any

import httpx

from app.main import create_app
from app.subscriptions.schemas import SubscriptionChange
from tests.conftest import MakeSettings
from tests.subscriptions.support import URL, errors, subscribe
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory

LOUD = "lOuD!"  # part of what is sent, which no answer may repeat
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown field": ({LOUD: 1}, "body.(unknown field)", "extra_forbidden"),
    "a thousand unknown fields": ({f"{LOUD}{n}": 1 for n in range(1000)}, "body", "unknown_fields"),
    "url number": ({"url": 7}, "body.url", "string_type"),
    "url null": ({"url": None}, "body.url", "string_type"),
    "description long": ({"description": LOUD * 64}, "body.description", "string_too_long"),
    "description null": ({"description": None}, "body.description", "string_type"),
    "no event types": ({"event_types": []}, "body.event_types", "too_short"),
    "event type twice": ({"event_types": ["upload", "upload"]}, "body.event_types", "event_types_unique"),
    "event type unknown": ({"event_types": [LOUD]}, "body.event_types.0", "enum"),
    "event types many": ({"event_types": ["upload"] * 4}, "body.event_types", "too_long"),
    "event types text": ({"event_types": "upload"}, "body.event_types", "list_type"),
    "headers list": ({"headers": [LOUD]}, "body.headers", "headers_type"),
    "headers many": ({"headers": {f"X-{n}": "v" for n in range(21)}}, "body.headers", "headers_number"),
    "header name empty": ({"headers": {"": "v"}}, "body.headers", "header_name"),
    "header name space": ({"headers": {f"{LOUD} x": "v"}}, "body.headers", "header_name"),
    "header name colon": ({"headers": {f"{LOUD}:": "v"}}, "body.headers", "header_name"),
    "header name line": ({"headers": {f"{LOUD}\r\nHost": "v"}}, "body.headers", "header_name"),
    "header name end of line": ({"headers": {f"{LOUD}\n": "v"}}, "body.headers", "header_name"),
    "header name letters": ({"headers": {f"{LOUD}ü": "v"}}, "body.headers", "header_name"),
    "header name long": ({"headers": {LOUD * 33: "v"}}, "body.headers", "header_name"),
    "header twice": ({"headers": {"X-Loud": "v", "x-loud": "w"}}, "body.headers", "header_repeated"),
    "header value line": ({"headers": {"X-A": f"{LOUD}\r\nX-B: 1"}}, "body.headers", "header_value"),
    "header value end of line": ({"headers": {"X-A": f"{LOUD}\n"}}, "body.headers", "header_value"),
    "header value tab": ({"headers": {"X-A": f"{LOUD}\t1"}}, "body.headers", "header_value"),
    "header value letters": ({"headers": {"X-A": f"{LOUD}ü"}}, "body.headers", "header_value"),
    "header value space": ({"headers": {"X-A": f"{LOUD} "}}, "body.headers", "header_value"),
    "header value empty": ({"headers": {"X-A": ""}}, "body.headers", "header_value"),
    "header value long": ({"headers": {"X-A": "v" * 1025}}, "body.headers", "header_value"),
    "header value number": ({"headers": {"X-A": 1}}, "body.headers", "header_value"),
    "start text": ({"start": LOUD}, "body.start", "start"),
    "start negative": ({"start": -1}, "body.start", "start"),
    "start fraction": ({"start": 1.5}, "body.start", "start"),
    "start null": ({"start": None}, "body.start", "start"),
    "start boolean": ({"start": True}, "body.start", "start"),
    "start huge": ({"start": 2**60}, "body.start", "start"),
    "start object": ({"start": {LOUD: 1}}, "body.start", "start"),
    "ordering": ({"ordering": LOUD}, "body.ordering", "enum"),
    "concurrency none": ({"max_concurrency": 0}, "body.max_concurrency", "greater_than_equal"),
    "concurrency large": ({"max_concurrency": 101}, "body.max_concurrency", "less_than_equal"),
    "concurrency text": ({"max_concurrency": "10"}, "body.max_concurrency", "number_type"),
    "concurrency boolean": ({"max_concurrency": True}, "body.max_concurrency", "number_type"),
    "rate none": ({"rate_limit_per_second": 0}, "body.rate_limit_per_second", "greater_than_equal"),
    "rate tiny": ({"rate_limit_per_second": 1e-300}, "body.rate_limit_per_second", "greater_than_equal"),
    "rate text": ({"rate_limit_per_second": "1"}, "body.rate_limit_per_second", "number_type"),
    "status": ({"status": "disabled"}, "body.status", "literal_error"),
    "secret short": ({"secret": "whsec_" + "QUJD" * 7}, "body.secret", "secret"),
    "secret long": ({"secret": "whsec_" + "QUJD" * 22}, "body.secret", "secret"),
    "secret other": ({"secret": "QUJD" * 8}, "body.secret", "secret"),
    "secret letters": ({"secret": "whsec_" + "ü" * 32}, "body.secret", "secret"),
    "secret spaces": ({"secret": "whsec_" + "QUJD " * 8}, "body.secret", "secret"),
}
# What a change alone refuses, or takes otherwise.
WRONG_CHANGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "ordering": ({"ordering": "none"}, "body", "unchangeable"),
    "start": ({"start": "beginning"}, "body", "unchangeable"),
    "secret": ({"secret": "whsec_" + "QUJD" * 8}, "body.secret", "extra_forbidden"),
    "status null": ({"status": None}, "body.status", "literal_error"),
    "concurrency null": ({"max_concurrency": None}, "body.max_concurrency", "int_type"),
    "event types null": ({"event_types": None}, "body.event_types", "list_type"),
}
NEITHER_MAKE_NOR_CHANGE = [name for name in WRONG if not name.startswith(("start", "ordering", "secret"))]
RESERVED = [
    *("Host", "content-type", "Content-Length", "Content-Digest", "webhook-id", "Webhook-Signature", "user-agent"),
    *("connection", "TE", "trailer", "Transfer-Encoding", "upgrade", "keep-alive", "proxy-authorization", "expect"),
]
BAD_URLS = {
    "none": "",
    "words": "not a url",
    "no scheme": "metadata.example.com/hook",
    "file": "file:///etc/passwd",
    "ftp": "ftp://example.com/",
    "script": "javascript:alert(1)",
    "user": "https://lOuD@example.com/",
    "user and password": "https://lOuD:x@example.com/",
    "fragment": "https://example.com/#lOuD",
    "no host": "https:///lOuD",
    "port 0": "https://example.com:0/",
    "port far": "https://example.com:70000/",
    "port text": "https://example.com:lOuD/",
    "port not allowed": "https://example.com:22/",
    "full-width digits": "http://\uff11\uff12\uff17.0.0.1/",
    "ideographic stop": "http://127\u30020\u30020\u30021/",
    "space": "https://example.com/lOuD x",
    "line": "https://example.com/\r\nlOuD: 1",
    "end of line": "https://example.com/lOuD\n",
    "backslash": "https://example.com\\@127.0.0.1/",
    "long": "https://example.com/" + "lOuD" * 600,
    "loopback": "http://127.0.0.1/",
    "loopback name": "http://localhost/",
    "loopback name with dot": "http://hook.localhost./",
    "decimal": "http://2130706433/",
    "hexadecimal": "http://0x7f000001/",
    "octal": "http://0177.0.0.1/",
    "short": "http://127.1/",
    "trailing dot": "http://127.0.0.1./",
    "private": "http://10.0.0.1/",
    "shared": "http://100.64.0.1/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "unspecified": "http://0.0.0.0/",
    "multicast": "http://224.0.0.1/",
    "ipv6 loopback": "http://[::1]/",
    "ipv6 mapped": "http://[::ffff:127.0.0.1]/",
    "ipv6 nat64": "http://[64:ff9b::7f00:1]/",
    "ipv6 unique local": "http://[fd00::1]/",
    "ipv6 zone": "http://[fe80::1%25eth0]/",
}


@on_sqlite
async def test_a_new_subscription_that_is_wrong(client: httpx.AsyncClient) -> None:
    for name, (wrong, loc, kind) in WRONG.items():
        answer = await client.post("/subscriptions", json={"url": URL, **wrong})
        assert errors(answer) == [(loc, kind)], name
        assert LOUD not in answer.text, name
    assert (await client.get("/subscriptions")).json() == []


@on_sqlite
async def test_changes_that_are_wrong(client: httpx.AsyncClient) -> None:
    body = await subscribe(client)
    path = f"/subscriptions/{body['id']}"
    before = (await client.get(path)).json()
    for name in (*NEITHER_MAKE_NOR_CHANGE, *WRONG_CHANGES):
        wrong, loc, kind = WRONG_CHANGES.get(name) or WRONG[name]
        answer = await client.patch(path, json=wrong)
        assert errors(answer) == [(loc, kind)], name
        assert LOUD not in answer.text, name
    after = await client.get(path)
    assert (after.json(), after.headers["ETag"]) == (before, '"1"')


def test_it_is_told_what_a_change_may_remove() -> None:
    schema = SubscriptionChange.model_json_schema()
    removable = {name for name, one in schema["properties"].items() if {"type": "null"} in one.get("anyOf", [])}
    assert removable == {name for name in schema["properties"] if f"`{name}`" in schema["description"]}


@on_sqlite
async def test_headers_that_are_ours(client: httpx.AsyncClient) -> None:
    for name in RESERVED:
        answer = await client.post("/subscriptions", json={"url": URL, "headers": {name: "v"}})
        assert errors(answer) == [("body.headers", "header_reserved")], name


@on_sqlite
async def test_urls_where_no_subscriber_may_be(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    strict = make_settings(webhook_allow_private_addresses=False, webhook_ports=(80, 443, 8080, 8443))
    async with serve_in_process(create_app(strict)) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token(scope='admin:sync')}"
        path = f"/subscriptions/{(await subscribe(client))['id']}"
        for name, url in BAD_URLS.items():
            for answer in (
                await client.post("/subscriptions", json={"url": url}),
                await client.patch(path, json={"url": url}),
            ):
                assert errors(answer) == [("body.url", "url_refused")], name
                assert LOUD not in answer.text, name
        assert len((await client.get("/subscriptions")).json()) == 1
        assert (await client.get(path)).json()["url"] == URL
        for url in (
            "http://example.com",
            "https://example.com:8443/a?b=c%20d",
            "https://xn--bcher-kva.example/",
        ):
            assert (await subscribe(client, url=url))["url"] == url
        checked = await subscribe(client, url="HTTPS://bücher.example:443/")
        assert checked["url"] == "https://xn--bcher-kva.example/", "stored is what was checked"


NO_OBJECTS = ["", "[]", "null", '"x"', "{", '{"url": "a", "url": "b"}', '{"url": "\\u0000"}', "1"]


@on_sqlite
async def test_what_is_no_object(client: httpx.AsyncClient) -> None:
    subscription = await subscribe(client)
    for method, path in (
        ("POST", "/subscriptions"),
        ("PATCH", f"/subscriptions/{subscription['id']}"),
        ("POST", f"/subscriptions/{subscription['id']}/replay"),
    ):
        for body in NO_OBJECTS:
            answer = await client.request(method, path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422, (method, path, body)


@on_sqlite
async def test_bodies_that_are_too_large_or_no_json(client: httpx.AsyncClient) -> None:
    large = await client.post("/subscriptions", json={"url": URL, "description": "x" * 140_000})
    assert large.status_code == 413
    text = await client.post("/subscriptions", content="{}", headers={"Content-Type": "text/plain"})
    assert text.status_code == 415


@on_sqlite
async def test_a_merge_patch_may_say_that_it_is_one(client: httpx.AsyncClient) -> None:
    body = await subscribe(client)
    headers = {"Content-Type": "application/merge-patch+json"}
    path = f"/subscriptions/{body['id']}"
    answer = await client.patch(path, content='{"description": "new"}', headers=headers)
    assert (answer.status_code, answer.json()["description"]) == (200, "new")


@on_sqlite
async def test_an_id_that_is_none(client: httpx.AsyncClient) -> None:
    for subscription_id in ("x", "1", "{00000000-0000-0000-0000-000000000000}"):
        assert (await client.get(f"/subscriptions/{subscription_id}")).status_code == 404, subscription_id
