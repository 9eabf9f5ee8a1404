"""`python -m app`: what its commands print, what they refuse, and that the service takes the token printed."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jose import jwt

from app.cli import main
from app.config import Settings
from app.main import create_app
from tests.support.application import serve_in_process
from tests.support.fork_server import ForkServer

SECRET = "a-secret-of-this-test-with-enough-characters"
EVERYTHING = "read:sync write:sync admin:sync"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def local_mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting but the defaults, and a secret of the test's own."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "secret"))


@pytest.fixture
def run(fork_server: ForkServer) -> Run:
    """The command in a process of its own."""

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return fork_server.run(("app", *arguments), {**os.environ, **variables})

    return run


def mint(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The claims of the token that the command prints, alone and on one line."""
    assert main(["token", *arguments]) == 0
    token = capsys.readouterr().out
    assert token.count("\n") == 1
    claims: dict[str, Any] = jwt.get_unverified_claims(token.strip())
    return claims


def test_a_token_names_the_developer_and_allows_everything(capsys: pytest.CaptureFixture[str]) -> None:
    claims = mint(capsys)
    assert (claims["sub"], claims["scope"]) == ("developer", EVERYTHING)
    assert claims["aud"] == "https://cloud-api.rakai/"
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 60


def test_subject_and_lifetime_are_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    claims = mint(capsys, "--subject", "chunker ü", "--minutes", "0.5")
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("chunker ü", 30)


def test_the_settings_lifetime_is_the_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCESS_TOKEN_EXPIRE_MINUTES", "7")
    claims = mint(capsys)
    assert claims["exp"] - claims["iat"] == 7 * 60


@pytest.mark.parametrize(
    ("arguments", "scope"),
    [
        (["--scope", "read:sync"], "read:sync"),
        (["--scope", "read:sync", "write:sync"], "read:sync write:sync"),
        (["--scope", "read:sync write:sync"], "read:sync write:sync"),
        (["--scope", " read:sync  write:sync", "admin:sync"], EVERYTHING),
        (["--scope", ""], ""),
    ],
)
def test_scopes_are_words_or_one_quoted_text(
    arguments: list[str], scope: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mint(capsys, *arguments)["scope"] == scope


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--subject", text] for text in ("", "a\nb", "\x1b[31m", "x" * 256, "\udcff")),
        *(["--minutes", text] for text in ("", "0", "-1", "nan", "inf", "1e9", "0.001", "ten")),
        *(["--scope", text] for text in ("everything", "read:sync,write:sync", "read:sync all")),
        ["--scope"],
        ["--colour", "red"],
    ],
    ids=repr,
)
def test_nonsense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["token", *arguments])
    assert refused.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert arguments[0] in printed.err


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "Commands:" in capsys.readouterr().err


def test_the_process_prints_the_token_alone(run: Run) -> None:
    done = run("token", "--subject", "me", "--scope", "read:sync", SECRET_KEY=SECRET)
    assert (done.returncode, done.stderr) == (0, "")
    assert jwt.get_unverified_claims(done.stdout.strip())["sub"] == "me"


def test_a_warning_does_not_get_in_the_way_of_the_token(run: Run) -> None:
    done = run("token", SECRET_KEY="your_secure_secret_key_here")
    assert done.returncode == 0
    assert jwt.get_unverified_claims(done.stdout.strip())["sub"] == "developer"
    assert "SECRET_KEY" in done.stderr
    assert done.stderr.count("\n") == 1


def test_auth0_mode_mints_nothing(run: Run) -> None:
    done = run("token", AUTH0_DOMAIN="example.eu.auth0.com")
    assert (done.returncode, done.stdout) == (1, "")
    assert "AUTH0_DOMAIN" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [None, b"", b"short", b"\xff" * 40], ids=repr)
def test_an_unusable_secret_is_one_line(
    content: bytes | None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.mkdir() if content is None else path.write_bytes(content)
    assert main(["token"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("SECRET_KEY_FILE: ")


@pytest.mark.slow
def test_a_wrong_setting_is_named(run: Run) -> None:
    done = run("token", DATABASE_URL="mysql://u:hunter2@h/d")
    assert (done.returncode, done.stdout) == (1, "")
    assert "DATABASE_URL" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_service_takes_the_token(capsys: pytest.CaptureFixture[str], sqlite_url: str) -> None:
    assert main(["token", "--subject", "me", "--scope", "write:sync read:sync"]) == 0
    token = capsys.readouterr().out.strip()
    settings = Settings(_env_file=None, database_url=sqlite_url, auth_enforce_scopes=True)
    assert settings.local_mode
    async with serve_in_process(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        event = {"file_id": "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11", "event_type": "upload"}
        created = await client.post("/sync-events", json=event)
        assert created.status_code == 201
        assert (await client.get(created.headers["Location"])).json()["created_by"] == "me"
        assert (await client.post(f"{created.headers['Location']}/requeue")).status_code == 403
        client.headers["Authorization"] = f"Bearer {token[:-4]}AAAA"
        assert (await client.get("/sync-events")).status_code == 401


def test_the_openapi_document_alone_is_printed(run: Run) -> None:
    done = run("openapi", API_TITLE="Events <ü>", LOG_LEVEL="DEBUG")
    assert done.returncode == 0, done.stderr
    settings = Settings(_env_file=None, api_title="Events <ü>")
    assert json.loads(done.stdout) == create_app(settings).openapi()


def test_no_document_of_wrong_settings(run: Run) -> None:
    done = run("openapi", SERVER_PORT="0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "SERVER_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_service_refuses_an_unusable_secret_in_one_line(
    fork_server: ForkServer, sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("short")
    environment = {**os.environ, "DATABASE_URL": sqlite_url, "LOG_LEVEL": "ERROR"}
    done = fork_server.run(("uvicorn", "app.main:app", "--port", "0"), environment)
    assert done.returncode != 0
    assert "SECRET_KEY_FILE" in done.stderr
    assert "Traceback" not in done.stderr
    assert "short" not in done.stderr
