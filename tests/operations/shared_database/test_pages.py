"""The front page for browsers, and a page for each problem: served from here alone, without a token or a script."""

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from itertools import product
from pkgutil import walk_packages
from typing import Any
from urllib.parse import urljoin

import httpx
from fastapi import FastAPI

import app
from app.errors import ProblemError
from app.main import create_app
from app.operations.pages import PROBLEMS, read_problems
from tests.conftest import LOCAL_MODE, MakeSettings
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.process import ServiceProcess

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def kinds(error: type[ProblemError] = ProblemError) -> Iterator[type[ProblemError]]:
    """Every error of the service that has a code."""
    for kind in error.__subclasses__():
        if kind.code and kind.__module__.startswith("app."):
            yield kind
        yield from kinds(kind)


def references(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*)"', page)


async def assert_page(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """A page that loads and links to what is served here."""
    page = await client.get(url, headers={"Accept": BROWSER})
    assert page.status_code == 200, url
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "<script" not in page.text
    assert " style=" not in page.text
    for reference in references(page.text):
        assert not re.match("[a-z]+:|/", reference)
        assert (await client.get(urljoin(str(page.url), reference))).status_code == 200, reference
    return page


@on_sqlite
async def test_the_root_is_a_page_for_browsers_and_json_for_others(anonymous: httpx.AsyncClient) -> None:
    page = await assert_page(anonymous, "/")
    assert {"console", "docs", "health", "problems"} <= set(references(page.text))
    information = await anonymous.get("/")
    assert information.headers["Content-Type"] == "application/json"
    for answer in (page, information):
        head = await anonymous.head("/", headers={"Accept": answer.request.headers["Accept"]})
        assert answer.headers["Vary"] == head.headers["Vary"] == "Accept"
        assert head.headers["Content-Type"] == answer.headers["Content-Type"]
        assert head.text == "" or head.headers["Content-Length"] == answer.headers["Content-Length"]


@on_sqlite
async def test_what_settings_say_is_text_and_the_console_is_linked_where_it_is(make_settings: MakeSettings) -> None:
    settings = make_settings(api_title="<script>a", api_description="<b>", api_version="<i>", console_enabled=False)
    async with serve_in_process(create_app(settings)) as client:
        page = await assert_page(client, "/")
    assert "console" not in references(page.text)
    assert "&lt;script&gt;a" in page.text
    assert not re.search("<(b|i)>", page.text)


@on_sqlite
async def test_the_icon_is_served_in_both_forms(anonymous: httpx.AsyncClient) -> None:
    svg, ico = await anonymous.get("/favicon.svg"), await anonymous.get("/favicon.ico")
    assert svg.headers["Content-Type"] == "image/svg+xml"
    assert ico.content[:4] == b"\x00\x00\x01\x00"
    assert "://" not in svg.text.replace("http://www.w3.org/2000/svg", "")


def test_each_problem_is_explained_with_its_cause_and_its_remedy() -> None:
    for module in walk_packages(app.__path__, "app."):
        if module.name not in {"app.__main__", "app.main"}:
            import_module(module.name)
    explained = read_problems(PROBLEMS.read_text())
    assert {kind.code for kind in kinds()} == set(explained), "docs/problems.md"
    assert list(explained) == sorted(explained)
    for name, paragraphs in explained.items():
        assert [one.split(" ")[0] for one in paragraphs] == ["**Cause.**", "**Remedy.**"], name


@on_sqlite
async def test_every_problem_has_a_page(anonymous: httpx.AsyncClient) -> None:
    index = await assert_page(anonymous, "/problems")
    names = set(read_problems(PROBLEMS.read_text()))
    assert {f"problems/{name}" for name in names} < set(references(index.text))
    for name in names:
        page = await assert_page(anonymous, f"/problems/{name}")
        assert f"<h1>{name}</h1>" in page.text
        assert page.text.count("<strong>") == 2


@on_sqlite
async def test_of_an_unknown_problem_there_is_no_page(anonymous: httpx.AsyncClient) -> None:
    for name in ("nothing", "NOT-FOUND", "..%2Ffavicon.svg", "not-found%00"):
        answer = await anonymous.get(f"/problems/{name}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


@on_sqlite
async def test_the_link_leads_to_the_page_from_any_depth_and_prefix(make_settings: MakeSettings) -> None:
    application = create_app(make_settings())
    async with application.router.lifespan_context(application) as state:
        for prefix, is_stripped in product(("", "/sync", "/a/b"), (True, False)):
            await _expect_links(application, state, prefix, is_stripped)


async def _expect_links(application: FastAPI, state: Mapping[str, Any] | None, prefix: str, is_stripped: bool) -> None:
    async def behind_a_proxy(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        path, raw = scope["path"].removeprefix(prefix), scope["raw_path"].removeprefix(prefix.encode())
        moved = {"path": path, "raw_path": raw} if is_stripped else {"root_path": prefix}
        await application({**scope, **moved, "state": dict(state or {})}, receive, send)

    transport = httpx.ASGITransport(app=behind_a_proxy)
    async with httpx.AsyncClient(transport=transport, base_url="http://sync-service") as client:
        event = "019376a5-3b70-7c1e-a2d4-5e6f7a8b9c0d"
        for path in ("/overview", f"/sync-events/{event}", f"/sync-events/{event}/deliveries", "/problems/%2F/x"):
            answer = await client.get(f"{prefix}{path}?a=/b/c")
            if answer.status_code != 404:
                page = urljoin(str(answer.url), answer.json()["docs"])
                assert page == f"http://sync-service{prefix}/problems/unauthenticated"
                assert (await client.get(page)).status_code == 200


@on_sqlite
async def test_the_link_of_a_real_server_behind_a_prefix(start_service: Callable[..., ServiceProcess]) -> None:
    service = start_service("uvicorn", "app.main:app", "--port", "{port}", "--root-path", "/sync", **LOCAL_MODE)
    async with httpx.AsyncClient(base_url=service.url) as client:
        docs = (await client.get("/files/019376a5-3b70-7c1e-a2d4-5e6f7a8b9c0d/events")).json()["docs"]
    assert docs == "../../problems/unauthenticated"
