"""The login in local mode, where the token is and is not, and what each scope opens."""

import pytest
from playwright.async_api import expect

from app.auth.token import Scope
from tests.browser.console.desk import Console, Desk, console_page, file_id, mint
from tests.browser.prefix_proxy import prefix_proxy

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
PUBLIC_ACTIONS = {"Keyboard help", "Log out", "Pause", "Copy curl", "Last hour", "Last day", "Skip to the page"}


async def test_before_the_login_there_is_nothing_else(desk: Desk) -> None:
    async with console_page(desk) as console:
        await console.page.goto("about:blank")
        await console.page.goto("/console#/ledger?event_type=delete")
        field = console.page.get_by_label("Token")
        await expect(field).to_be_focused()
        assert await console.page.get_by_role("navigation").count() == 0
        assert [await field.get_attribute(name) for name in ("type", "autocomplete", "spellcheck")] == [
            "text",
            "off",
            "false",
        ]
        await field.fill("no token")
        await console.page.keyboard.press("Enter")
        await expect(console.page.get_by_role("alert")).to_contain_text("This is not a token")
        assert console.asked == []
        await field.fill(f"Bearer {mint()} ")
        await console.page.keyboard.press("Enter")
        await expect(console.page.get_by_role("heading", name="Ledger")).to_be_visible()
        assert console.page.url.endswith("#/ledger?event_type=delete")


async def test_the_token_is_in_no_url_no_storage_and_no_log(desk: Desk) -> None:
    token = mint()
    async with console_page(desk) as console:
        page = console.page
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        await page.goto("/console")
        await page.evaluate("localStorage.setItem('authorized', 'a token of an earlier release')")
        await page.reload()
        await console.log_in(token)
        for fragment in ("/ledger", desk.places["file"], "/subscriptions"):
            await console.go(fragment)
        stored = await page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state, location.href])"
        )
        assert token not in stored
        assert "earlier release" not in stored
        urls = [request.url for request in console.requests]
        assert not any(part in text for text in [*urls, *said, desk.service.output()] for part in token.split("."))
        assert token not in await page.content()


async def test_a_refused_token_leads_to_the_login_and_back(desk: Desk) -> None:
    async with console_page(desk, strict=False) as console:
        page = console.page
        await console.log_in(mint(), "/consistency?kind=missing")
        await console.loaded()
        await page.route("**/consistency/**", lambda route: route.fulfill(status=401, json={"title": "Unauthorized"}))
        await expect(page.get_by_label("Token")).to_be_visible(timeout=15_000)
        await expect(page.get_by_role("alert")).to_contain_text("did not accept the token")
        await page.unroute("**/consistency/**")
        await page.get_by_label("Token").fill(mint())
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Consistency")).to_be_visible()
        assert page.url.endswith("#/consistency?kind=missing")


async def visible_actions(console: Console) -> set[str]:
    """The names of the buttons that a page shows, apart from those that open a row."""
    buttons = console.page.locator("button:visible:not(.metadata)")
    names = await buttons.evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label') ?? one.textContent.trim())"
    )
    return set(names)


async def test_a_reader_sees_no_action_and_is_refused_a_direct_call(desk: Desk) -> None:
    token = mint([Scope.READ])
    async with console_page(desk, strict=False) as console:
        await console.log_in(token)
        for fragment in (
            "/overview",
            "/ledger",
            "/set-aside",
            "/consistency",
            "/proof",
            desk.places["file"],
            desk.places["event"],
        ):
            await console.go(fragment)
            assert await visible_actions(console) <= PUBLIC_ACTIONS, fragment
            assert await console.page.locator("main input[type=checkbox]").count() == 0, fragment
        console.requests.clear()
        for fragment in ("/subscriptions", desk.places["subscription"], desk.places["delivery"]):
            await console.go(fragment)
            await expect(console.page.get_by_role("main")).to_contain_text("admin:sync")
        assert [path for path in console.asked if not path.startswith("files/")] == []
        await console.go(desk.places["file"])
        await expect(console.page.get_by_role("main")).to_contain_text("admin:sync")
        headers = {"Authorization": f"Bearer {token}"}
        body = {"filter": {}, "up_to_position": 1000, "expected": 3}
        refused = await console.page.request.post("/sync-events/requeue", data=body, headers=headers)
        assert refused.status == 403


async def test_the_tail_of_a_live_page_asks_for_nothing_after_the_logout(desk: Desk) -> None:
    async with console_page(desk) as console:
        await console.log_in(mint(), "/ledger")
        await expect(console.page.get_by_text("Live:")).to_be_visible()
        await console.page.get_by_role("button", name="Log out").click()
        await expect(console.page.get_by_label("Token")).to_be_visible()
        console.requests.clear()
        await desk.post({"file_id": str(file_id(4100)), "event_type": "upload"})
        await console.page.wait_for_timeout(300)
        assert console.asked == []


async def test_everything_works_under_a_prefix(desk: Desk) -> None:
    async with prefix_proxy(desk.service.port) as proxy, console_page(desk, origin=proxy.url) as console:
        await console.log_in(mint(), "/overview")
        await expect(console.page.locator(".tiles")).to_be_visible()
        for fragment in ("/ledger", "/set-aside", desk.places["file"], "/alert/SyncEventsSetAside"):
            await console.go(fragment)
        await expect(console.page.get_by_text("Their effect is missing")).to_be_visible()
    assert all(path.startswith("/api/sync/") for path in proxy.asked)
    assert "/api/sync/sync-events/set-aside" in proxy.asked
