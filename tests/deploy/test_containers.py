"""The images and the compose file hold together, with the settings and with what is in the repository."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.config import Settings
from app.outbound.secret import NoEncryptionKey, create_cipher
from tests.conftest import AUDIENCE, ROOT
from tests.deploy.container_files import (
    compose_services,
    copied,
    env_file,
    image_environment,
    instructions,
    last_stage,
    only,
    seconds,
)

TENANT = "example.eu.auth0.com"
OURS = ("sync-service", "migrate")


def settings_in(monkeypatch: pytest.MonkeyPatch, *environments: dict[str, str]) -> Settings:
    """The settings of a container: the image's environment, and what it is given; the last one wins."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for environment in (image_environment(), *environments):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.test"])
def test_the_tests_run_on_what_the_service_runs_on_as_an_ordinary_user(name: str) -> None:
    bases = {arguments.split()[0] for keyword, arguments in instructions(name) if keyword == "FROM"}
    assert bases == {only("Dockerfile", "FROM")}
    assert int(only(name, "USER")) > 0, "a number, so that Kubernetes can tell that it is not root"


def test_everything_that_is_copied_exists_and_reaches_the_builder() -> None:
    first, *rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    sent = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert first == "*", "nothing is sent but what is listed"
    assert {Path(source).parts[0] for source in copied() if source != "."} <= sent
    assert all((ROOT / name).exists() for name in {*sent, *copied()})
    assert not sent & {".env", ".git", ".secret_key", ".venv", "sync.db"}


def test_requirements_are_installed_by_hash_alone() -> None:
    everything = [text for name in ("Dockerfile", "Dockerfile.test") for _, text in instructions(name)]
    installs = [text for text in everything if re.search(r"-r \S+\.txt", text)]
    assert len(installs) == 2
    assert all("--require-hashes" in text for text in installs)


def test_the_last_stage_takes_from_the_first_what_is_installed_and_nothing_else() -> None:
    assert [text for keyword, text in last_stage("Dockerfile") if keyword == "COPY"] == [
        "--from=build /opt/venv /opt/venv",
        "--from=build /app /app",
    ]


def test_the_label_tells_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in [text for keyword, text in last_stage("Dockerfile") if keyword == "ARG"]
    assert 'org.opencontainers.image.version="$VERSION"' in only("Dockerfile", "LABEL")


def test_the_example_of_the_settings_as_env_file_leaves_the_image_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(monkeypatch, env_file(ROOT / ".env.example"), {"AUTH0_DOMAIN": TENANT})
    assert (settings.server_host, settings.server_port) == ("0.0.0.0", int(only("Dockerfile", "EXPOSE")))  # noqa: S104
    assert (settings.environment, settings.database.is_sqlite) == ("production", True)


@pytest.mark.parametrize(
    ("given", "environment", "local_mode", "audience"),
    [
        (
            {"AUTH0_DOMAIN": TENANT, "API_AUDIENCE": "https://files.example/"},
            "production",
            False,
            "https://files.example/",
        ),
        ({"AUTH0_DOMAIN": TENANT, "API_AUDIENCE": ""}, "production", False, AUDIENCE),
        ({"ENVIRONMENT": "development"}, "development", True, AUDIENCE),
    ],
    ids=["both", "no-audience", "local-mode"],
)
def test_compose_gives_valid_settings(
    given: dict[str, str], environment: str, local_mode: bool, audience: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = compose_services(given)
    for name in OURS:
        settings = settings_in(monkeypatch, services[name]["environment"])
        assert (settings.environment, settings.local_mode, settings.api_audience) == (environment, local_mode, audience)
        url = settings.database.url
        assert (url.host, settings.server_host) == ("db", "0.0.0.0")  # noqa: S104
        assert services["db"]["environment"] == {
            "POSTGRES_USER": url.username,
            "POSTGRES_PASSWORD": url.password,
            "POSTGRES_DB": url.database,
        }


def test_compose_without_a_tenant_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="AUTH0_DOMAIN must be set"):
        settings_in(monkeypatch, compose_services({})["sync-service"]["environment"])


def test_compose_hands_over_what_webhooks_need(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "AUTH0_DOMAIN": TENANT,
        "WEBHOOK_ENCRYPTION_KEYS": "k" * 32,
        "WEBHOOK_PORTS": "443",
        "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true",
    }
    settings = settings_in(monkeypatch, compose_services(given)["sync-service"]["environment"])
    cipher = create_cipher(settings)
    assert cipher.decrypt(cipher.encrypt("text")) == "text"
    assert (settings.webhook_ports, settings.webhook_allow_private_addresses) == ((443,), True)


def test_compose_with_a_tenant_alone_has_the_defaults_of_webhooks_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(monkeypatch, compose_services({"AUTH0_DOMAIN": TENANT})["sync-service"]["environment"])
    webhooks = [name for name in Settings.model_fields if name.startswith("webhook_")]
    assert {name: getattr(settings, name) for name in webhooks} == {
        name: Settings.model_fields[name].default for name in webhooks
    }
    with pytest.raises(NoEncryptionKey):
        create_cipher(settings).encrypt("text")


def test_compose_waits_for_every_step_of_the_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    service = compose_services({"AUTH0_DOMAIN": TENANT})["sync-service"]
    settings = settings_in(monkeypatch, service["environment"])
    steps = (
        settings.shutdown_delay,
        settings.shutdown_request_timeout,
        2 * settings.shutdown_timeout,
    )
    assert seconds(service["stop_grace_period"]) >= sum(steps) + 18, "for steps without a setting"


@pytest.mark.parametrize("name", OURS)
def test_compose_takes_every_right_that_is_not_needed(name: str) -> None:
    service = compose_services({})[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert (service["tmpfs"], service["volumes"]) == (["/tmp"], [f"service_data:{only('Dockerfile', 'VOLUME')}"])  # noqa: S108


def test_compose_starts_the_service_on_a_migrated_database() -> None:
    services = compose_services({})
    assert services["sync-service"]["environment"]["DATABASE_MIGRATE_ON_START"] == "false"
    assert services["sync-service"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"
    # Its server is on the socket, but not ready, while the image prepares a new volume.
    assert "--host" in services["db"]["healthcheck"]["test"]
