"""Hostile data appears as text: nothing of it runs, loads or reverses what stands around it."""

import json
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.console.desk import Desk, console_page, file_id, mint

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
FILE = file_id(4000)

MARKUP = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<svg onload=window.hacked=1>",
    "<svg><script>window.hacked=1</script></svg>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<body onload=window.hacked=1>",
    "<details open ontoggle=window.hacked=1>",
    "<input autofocus onfocus=window.hacked=1>",
    "<a href='javascript:window.hacked=1' id=x>click</a>",
    "<math><mtext><style><img src onerror=window.hacked=1></style></mtext></math>",
    "<noscript><p title='</noscript><img src onerror=window.hacked=1>'>",
    "<template><script>window.hacked=1</script></template>",
    "<base href='https://evil.example/'>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>*{background:url(https://evil.example/)}</style>",
    "<form action=https://evil.example/><button>x</button></form>",
    "<object data=https://evil.example/></object>",
    "<embed src=https://evil.example/>",
    "<video><source onerror=window.hacked=1></video>",
    "</pre></code></td></table><script>window.hacked=1</script>",
    "'\"><img src=x onerror=window.hacked=1>",
    "--><script>window.hacked=1</script><!--",
    "]]><script>window.hacked=1</script>",
    "javascript:window.hacked=1",
    "data:text/html,<script>parent.hacked=1</script>",
    "${window.hacked=1}",
    "{{constructor.constructor('window.hacked=1')()}}",
    "<${Component}>",
    "`;window.hacked=1;`",
    "&lt;script&gt;window.hacked=1&lt;/script&gt;",
    "<a href='//evil.example'>x</a>",
]
INVISIBLE = ["\u202egnp.exe", "\u2066a\u2069", "\u200fx", "\u061cy", "\u2028z", "\ufeffb", "\x7f", "\u009b31m"]
VALUES: list[Any] = [*MARKUP, *INVISIBLE]


async def test_forty_hostile_values_execute_nothing_and_report_nothing(desk: Desk) -> None:
    assert len(VALUES) == 40
    await desk.post(
        *({"file_id": str(FILE), "event_type": "upload", "metadata": {"path": one, one: "name"}} for one in VALUES)
    )
    async with console_page(desk) as console:
        page = console.page
        await page.goto("/console")
        await page.evaluate(
            "window.violations = []; addEventListener('securitypolicyviolation', e => violations.push(e.blockedURI));"
        )
        await console.log_in(mint(), f"/ledger?file_id={FILE}")
        await console.loaded()
        rows = page.locator("tbody tr")
        await expect(rows).to_have_count(len(VALUES))
        await page.evaluate("document.querySelectorAll('button.metadata').forEach(button => button.click())")
        await expect(page.locator("tbody pre")).to_have_count(len(VALUES))
        shown = await page.locator("tbody pre").all_inner_texts()
        for one in MARKUP:
            assert any(json.dumps(one, ensure_ascii=False) in text for text in shown), one
        for one in INVISIBLE:
            assert not any(one[0] in text for text in shown), ascii(one)
        for fragment in (f"/file/{FILE}", desk.places["delivery"], desk.places["subscription"], "/set-aside"):
            await console.go(fragment)
        assert await page.evaluate("[window.hacked, violations]") == [None, []]
        assert await page.locator("main :is(script, img, iframe, object, embed, video, base)").count() == 0


async def test_the_policy_would_stop_what_the_page_does_not_do(desk: Desk) -> None:
    async with console_page(desk, strict=False) as console:
        await console.log_in(mint())
        assert await console.page.evaluate(
            "() => { try { document.body.innerHTML = '<b>x</b>'; return 'set'; } catch (error) { return error.name; } }"
        ) == ("TypeError")


async def test_names_and_urls_of_subscribers_are_text(desk: Desk) -> None:
    body = {
        "url": "http://127.0.0.1:9/%3Cscript%3E?q='\"",
        "description": "<b onclick=x>bold</b>\u202e",
        "status": "paused",
    }
    created = await desk.client.post("/subscriptions", json=body)
    assert created.status_code == 201
    async with console_page(desk) as console:
        await console.log_in(mint(), "/subscriptions")
        await expect(console.page.get_by_text("<b onclick=x>bold</b>\\u202e")).to_be_visible()
        assert await console.page.locator("main b").count() == 0
    await desk.client.delete(f"/subscriptions/{created.json()['id']}")
