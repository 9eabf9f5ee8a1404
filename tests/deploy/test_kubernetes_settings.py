"""What the manifests promise about ports, probes, time and connections holds with the settings that they carry."""

import os
import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx
import pytest
import yaml
from pydantic import ValidationError

from app.config import Settings
from app.config.domains import CloudSettings
from app.database.migrations import START_PATIENCE_SECONDS
from app.outbound.address import AddressPolicy, AddressRefused, is_public
from app.outbound.secret import NoEncryptionKey, create_cipher
from tests.deploy.container_files import only, seconds
from tests.deploy.manifests import KUBERNETES, MIGRATION, MONITORING, Document, container, pod, read, resource
from tests.docs.markdown import code_blocks
from tests.support.fork_server import ForkServer
from tests.support.waiting import until_ready

POSTGRESQL_CONNECTIONS = 100 - 3  # max_connections less superuser_reserved_connections, both as PostgreSQL has them
TENANT = "example.eu.auth0.com"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The ConfigMap as this process's environment, beside what the Secret and the image add."""
    data: dict[str, str] = resource("ConfigMap")["data"]
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in {**data, "DATABASE_URL": "postgresql://u:p@h/d", "ENVIRONMENT": "production"}.items():
        monkeypatch.setenv(name, value)
    return data


@pytest.fixture
def settings(configured: dict[str, str]) -> Settings:
    """What the service makes of that environment once an operator has named a tenant."""
    return Settings(_env_file=None, auth0_domain=TENANT)


def test_the_settings_are_real_and_valid(settings: Settings, configured: dict[str, str]) -> None:
    assert {name.lower() for name in configured} <= set(Settings.model_fields)
    assert (settings.environment, settings.local_mode, settings.server_host) == ("production", False, "0.0.0.0")  # noqa: S104
    assert container()["envFrom"] == [{"configMapRef": {"name": resource("ConfigMap")["metadata"]["name"]}}]


def test_the_pods_get_what_the_source_cloud_and_the_login_of_the_console_need(
    configured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {*configured, *(variable["name"] for variable in container()["env"])}
    assert {name.upper() for name in (*CloudSettings.model_fields, "auth0_console_client_id")} <= given
    example = read(KUBERNETES / "secret.example.yaml")["stringData"]
    for variable in container()["env"]:
        if variable["name"].lower() in CloudSettings.model_fields:
            monkeypatch.setenv(variable["name"], example[variable["valueFrom"]["secretKeyRef"]["key"]])
    settings = Settings(_env_file=None, auth0_domain=TENANT)
    assert {name: getattr(settings, name) for name in CloudSettings.model_fields} == CloudSettings().model_dump()


def test_the_tenant_has_to_be_named(configured: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="AUTH0_DOMAIN still has its placeholder value"):
        Settings(_env_file=None)


def test_the_grace_period_holds_every_step_of_the_shutdown(settings: Settings) -> None:
    command, seconds = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    steps = (
        int(seconds),
        settings.shutdown_delay,
        settings.shutdown_request_timeout,
        2 * settings.shutdown_timeout,
    )
    spare = pod()["terminationGracePeriodSeconds"] - sum(steps)
    assert 18 <= spare <= 20, "for steps without a setting"


def test_a_rollout_of_all_replicas_fits_into_postgresql(settings: Settings) -> None:
    replicas = resource("HorizontalPodAutoscaler")["spec"]["maxReplicas"]
    probe = migration = 1
    per_process = settings.database_pool_size + settings.database_max_overflow + probe
    # Pods that are shutting down do not count for maxSurge: each new one can stand beside an old one.
    connections = 2 * replicas * per_process * settings.web_concurrency + migration
    assert POSTGRESQL_CONNECTIONS - connections >= 10, "for backups, exporters and people"


def test_ports_have_the_same_names_and_numbers_everywhere(settings: Settings) -> None:
    named = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert named == {"http": settings.server_port, "metrics": settings.metrics_port}
    service = resource("Service")["spec"]
    assert [(port["name"], port["port"], port["targetPort"]) for port in service["ports"]] == [
        (name, number, name) for name, number in named.items()
    ]
    assert {container()[probe]["httpGet"]["port"] for probe in PROBES} == {"http"}
    assert [endpoint["port"] for endpoint in resource("ServiceMonitor", MONITORING)["spec"]["endpoints"]] == ["metrics"]


async def test_probes_and_prometheus_ask_for_what_the_service_answers(anonymous: httpx.AsyncClient) -> None:
    paths = {probe: container()[probe]["httpGet"]["path"] for probe in PROBES}
    assert paths == dict(zip(PROBES, ("/health/live", "/health/live", "/health/ready"), strict=True))
    (endpoint,) = resource("ServiceMonitor", MONITORING)["spec"]["endpoints"]
    await until_ready(anonymous)
    for path in {*paths.values(), endpoint["path"]}:
        assert (await anonymous.get(path)).status_code == httpx.codes.OK, path


def test_probes_wait_longer_than_the_answers_take() -> None:
    # Health answers within a second; a live but busy process is given a minute.
    for probe in PROBES:
        assert 1 < container()[probe]["timeoutSeconds"] <= max(2, container()[probe]["periodSeconds"])
    live = container()["livenessProbe"]
    assert live["periodSeconds"] * live["failureThreshold"] >= 60


def test_migrations_are_a_step_of_the_release_and_a_start_may_also_do_them(settings: Settings) -> None:
    assert not settings.database_migrate_on_start
    startup = container()["startupProbe"]
    longest = settings.database_start_timeout + START_PATIENCE_SECONDS
    assert startup["periodSeconds"] * startup["failureThreshold"] >= longest + 60, "and a migration"
    [period] = re.findall(r"--start-period=(\S+)", only("Dockerfile", "HEALTHCHECK"))
    assert seconds(period) >= longest + 60


def test_the_network_lets_through_what_is_needed(settings: Settings) -> None:
    def ports(rules: list[Document]) -> list[list[tuple[str, int]]]:
        return [[(port["protocol"], port["port"]) for port in rule["ports"]] for rule in rules]

    policy = resource("NetworkPolicy")["spec"]
    assert ports(policy["ingress"]) == [[("TCP", settings.server_port)], [("TCP", settings.metrics_port)]]
    metrics = policy["ingress"][1]["from"]
    assert metrics == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    dns, database, https = [("UDP", 53), ("TCP", 53)], [("TCP", 5432)], [("TCP", 443)]
    owners = [("TCP", 8000)]
    assert ports(policy["egress"]) == [dns, database, owners, https]
    assert policy["egress"][2]["to"] == [{"podSelector": {}}]
    migration = resource("NetworkPolicy", MIGRATION)["spec"]
    assert (migration.get("ingress"), ports(migration["egress"])) == (None, [dns, database])
    assert migration["policyTypes"] == policy["policyTypes"] == ["Ingress", "Egress"]


def test_the_network_lets_out_every_port_that_a_subscriber_may_have(settings: Settings) -> None:
    rules = resource("NetworkPolicy")["spec"]["egress"]
    let_out = {port["port"] for rule in rules for port in rule["ports"] if port["protocol"] == "TCP"}
    assert set(settings.webhook_ports) <= let_out
    policy = AddressPolicy.of(settings)
    policy.check_url("https://subscriber.example/")
    with pytest.raises(AddressRefused):
        policy.check_url("https://subscriber.example:8443/")


def test_the_rule_for_subscribers_nearby_lets_out_nothing_else_that_is_not_public(settings: Settings) -> None:
    [text] = code_blocks(KUBERNETES / "README.md", "yaml")
    [rule] = yaml.safe_load(text)
    assert {port["port"] for port in rule["ports"]} == set(settings.webhook_ports)
    public, subscribers = rule["to"]
    assert set(subscribers) == {"namespaceSelector"}
    closed = [ip_network(block) for block in public["ipBlock"]["except"]]
    for near in ("10.1.2.3", "100.100.100.200", "168.63.129.16", "169.254.169.254", "172.31.0.1", "192.168.0.1"):
        assert not is_public(ip_address(near))
        assert any(ip_address(near) in block for block in closed), near
    assert not any(ip_address("8.8.8.8") in block for block in closed)


def test_the_key_of_the_secret_opens_the_vault_and_its_example_is_refused(configured: dict[str, str]) -> None:
    assert "WEBHOOK_ENCRYPTION_KEYS" not in configured
    example = read(KUBERNETES / "secret.example.yaml")["stringData"]["webhook-encryption-keys"]
    assert f"--from-file=webhook-encryption-keys=<({example})" in (KUBERNETES / "README.md").read_text()
    with pytest.raises(ValidationError, match="webhook_encryption_keys"):
        Settings(_env_file=None, auth0_domain=TENANT, webhook_encryption_keys=example)
    generated = f"{'0af9' * 16}\n"  # as openssl ends it
    with_key = create_cipher(Settings(_env_file=None, auth0_domain=TENANT, webhook_encryption_keys=generated))
    assert with_key.decrypt(with_key.encrypt("text")) == "text"
    with pytest.raises(NoEncryptionKey):
        create_cipher(Settings(_env_file=None, auth0_domain=TENANT)).encrypt("text")


def test_the_migration_runs_with_what_its_job_gives_it(fork_server: ForkServer, tmp_path: Path) -> None:
    command, *arguments = container("Job", MIGRATION)["command"]
    environment = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    environment |= {"DATABASE_URL": f"sqlite:///{tmp_path}/sync.db", "ENVIRONMENT": "production"}
    fork_server.run((command, *arguments), environment).check_returncode()
    assert (tmp_path / "sync.db").stat().st_size > 0


def test_a_migration_ends_and_its_job_goes_away() -> None:
    job = resource("Job", MIGRATION)["spec"]
    assert (job["template"]["spec"]["restartPolicy"], job["backoffLimit"]) == ("Never", 3)
    assert job["ttlSecondsAfterFinished"] > 0
