"""The second act of the demo: a block store loses a block, a check finds it, and a repair is planned and applied."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from demo_process import DemoFailed, Siblings
from rich.console import Console

STEP_SECONDS = 15.0
POLL_SECONDS = 0.1
NAME = "voyage.mkv"
BLOCKS = (b"The harbour. " * 1000, b"The open sea. " * 1000, b"The island. " * 1000)

Json = dict[str, Any]


class Act:
    """One file in a metadata service and a block store, and the findings of Sync Service about it."""

    def __init__(self, api: httpx.Client, console: Console) -> None:
        self.file_id = str(uuid4())
        self._api = api
        self._console = console

    def title(self, text: str) -> None:
        """Begin a step."""
        self._console.rule(text, align="left")

    def say(self, who: str, text: str) -> None:
        """Show one line about an action of `who`."""
        self._console.print(f"  {who:<14} | {text}", markup=False, highlight=False, soft_wrap=True)

    def post(self, path: str, body: Json | None = None, headers: dict[str, str] | None = None) -> Json:
        """The service's response to a POST."""
        response: Json = self._api.post(path, json=body, headers=headers).raise_for_status().json()
        return response

    def wait(self, what: str, path: str, select: Callable[[Any], Json | None]) -> Json:
        """The part that `select` takes from a response, as soon as there is one.

        Raises:
            DemoFailed: there is none in time.
        """
        deadline = time.monotonic() + STEP_SECONDS
        while (found := select(self._api.get(path).raise_for_status().json())) is None:
            if time.monotonic() >= deadline:
                raise DemoFailed(f"{what} did not come within {STEP_SECONDS:.0f} seconds")
            time.sleep(POLL_SECONDS)
        return found

    def wait_for_verdict(self, verdict: str) -> None:
        """Wait for the result of the checks by event for the file."""
        self.wait(
            f"the verdict {verdict}",
            f"/files/{self.file_id}/consistency",
            lambda file: next((one for one in file["sources"] if one["verdict"] == verdict), None),
        )
        self.say("check by event", f"verdict of the source: {verdict}")

    def wait_for_finding(self, state: str) -> Json:
        """The finding about the file, once it is in a state."""
        path = f"/consistency/findings?file_id={self.file_id}&kind=missing_block&state={state}"
        return self.wait(f"a finding in the state {state}", path, lambda found: found[0] if found else None)

    def wait_for_event(self, what: str, is_wanted: Callable[[Json], bool]) -> Json:
        """The matching event of the file, once it is processed."""
        return self.wait(
            what,
            f"/sync-events?file_id={self.file_id}",
            lambda events: next((one for one in events if one["processed"] and is_wanted(one)), None),
        )


def show_consistency(api: httpx.Client, siblings: Siblings, authorization: dict[str, str], console: Console) -> None:
    """Play the act.

    Raises:
        DemoFailed: a step does not come in time, or with another outcome.
    """
    act = Act(api, console)
    act.title("A metadata service and its block store become a source of checks")
    source = {"name": "files", "kind": "contract", "url": siblings.metadata_url, "headers": authorization}
    source_id = act.post("/consistency/sources", {**source, "grace_seconds": 0})["id"]
    act.say("source", f"{siblings.metadata_url}/inventory")
    with (
        httpx.Client(base_url=siblings.metadata_url, headers=authorization) as files,
        httpx.Client(base_url=siblings.block_url, headers=authorization) as store,
    ):
        act.title("A file of three blocks is uploaded; its event makes a check due")
        blocks = _upload(act, files, store)
        act.wait_for_verdict("consistent")
        act.title("The block store loses a block, and the file is checked")
        store.delete(f"/chunks/{quote(blocks[1], safe='')}").raise_for_status()
        act.say("block store", "the second block is lost")
        _check(act, source_id)
        finding = act.wait_for_finding("open")
        act.say("second check", f"finding {finding['kind']} is open: {finding['message']}")
        act.title("A repair is planned, and applied")
        _repair(act, len(blocks))
        finding = act.wait_for_finding("resolved")
        act.say("another check", f"finding {finding['kind']} is resolved: events and source agree again")


def _upload(act: Act, files: httpx.Client, store: httpx.Client) -> list[str]:
    """Store the file in the sibling services, then record its event; returns the ids of its blocks."""
    blocks: list[str] = []
    for content in BLOCKS:
        headers = {"Content-Type": "application/octet-stream"}
        response = store.post("/chunks", content=content, headers=headers).raise_for_status()
        blocks.append(response.json()["storage_path"])
    size = sum(map(len, BLOCKS))
    files.post("/files", json={"file_id": act.file_id, "name": NAME, "size": size}).raise_for_status()
    chunks = [{"chunk_index": number, "storage_path": block} for number, block in enumerate(blocks)]
    files.post(f"/files/{act.file_id}/chunks", json=chunks).raise_for_status()
    metadata = {"path": NAME, "size": size, "blocks": blocks}
    act.post("/sync-events", {"file_id": act.file_id, "event_type": "upload", "metadata": metadata})
    event = act.wait_for_event("the upload, processed,", lambda one: one["event_type"] == "upload")
    act.say("ledger", f"position {event['position']} is an upload of {NAME} with {len(blocks)} blocks")
    return blocks


def _check(act: Act, source_id: str) -> None:
    """Check the file by its id, and expect one difference."""
    check = act.post("/consistency/checks", {"source": source_id, "scope": {"file_ids": [act.file_id]}})
    path = f"/consistency/checks/{check['id']}"
    check = act.wait("the end of the check", path, lambda one: None if one["state"] == "running" else one)
    if check["state"] != "complete" or check["counts"] != {"missing_block": 1}:
        raise DemoFailed(f"the check should be complete with one lost block, but it is {check}")
    act.say("check", f"check complete: {check['compared']} file compared, 1 difference: {', '.join(check['counts'])}")


def _repair(act: Act, recorded: int) -> None:
    """Plan a repair, show the plan, and apply it."""
    plan = act.post("/consistency/repairs", {"filter": {"file_id": act.file_id}, "action": "compensate"})
    [finding] = plan["findings"]
    held = recorded - finding["evidence"]["expected"]["block_count"]
    act.say("plan", f"would record an update with {held} blocks instead of {recorded}: the state of the source")
    applied = act.post(f"/consistency/repairs/{plan['id']}/apply", headers={"If-Match": f'"{plan["digest"]}"'})
    [result] = applied["results"]
    if result["outcome"] != "applied":
        raise DemoFailed(f"the repair was skipped: {result['reason']}")
    event = act.wait_for_event("the event of the repair", lambda one: "compensates" in one["metadata"])
    if len(event["metadata"]["blocks"]) != held:
        raise DemoFailed(f"the event of the repair should name {held} blocks: {event}")
    act.say("repair", f"applied: position {event['position']} is an {event['event_type']} of {NAME} with {held} blocks")
