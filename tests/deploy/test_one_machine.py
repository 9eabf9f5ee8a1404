"""The unit of systemd and the configuration of nginx, as their own programs see them, in front of a real service."""

import re
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import trustme

from app.auth.local import mint_local_token
from app.auth.token import Scope
from app.changes.router import MAX_WAIT_SECONDS
from app.config import Settings
from tests.conftest import LOCAL_MODE, ROOT
from tests.deploy.conftest import SEARCHED
from tests.deploy.container_files import image_environment
from tests.support.ports import ReservedPort
from tests.support.process import ServiceProcess
from tests.support.waiting import until

UNIT = ROOT / "deploy" / "systemd" / "sync-service.service"
NGINX = ROOT / "deploy" / "nginx" / "sync-service.conf"
NAME = "sync.example"
MIB = 2**20


def directives(name: str) -> list[str]:
    """The values of a directive of the unit, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.mark.systemd
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/sync-service/.venv/bin/python", "/usr/bin/env"))
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_gives_what_the_image_gives_and_the_time_that_a_shutdown_takes() -> None:
    given = dict(pair.split("=", 1) for line in directives("Environment") for pair in line.split())
    image = image_environment()
    assert {name: image[name] for name in given if name != "PYTHONPATH"} == {
        name: value for name, value in given.items() if name != "PYTHONPATH"
    }
    assert {name for name in image if name.startswith("MALLOC_")} <= set(given)
    settings = Settings(_env_file=None)
    steps = (settings.shutdown_delay, settings.shutdown_request_timeout, 2 * settings.shutdown_timeout)
    [seconds] = directives("TimeoutStopSec")
    assert int(seconds) >= sum(steps) + 18, "for steps without a setting"
    assert directives("ExecStart")[0].split()[1:] == ["-m", "app", "serve"]


def test_the_numbers_of_nginx_fit_the_settings() -> None:
    settings, text = Settings(_env_file=None), NGINX.read_text()
    [size] = re.findall(r"client_max_body_size (\d+)m;", text)
    assert settings.max_batch_bytes == int(size) * MIB
    [idle] = re.findall(r"keepalive_timeout (\d+)s;", text)
    assert int(idle) < settings.keep_alive_timeout
    [silent] = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(silent) > max(MAX_WAIT_SECONDS, 2 * settings.changes_keep_alive)


@pytest.fixture
def behind_nginx(local_service: ServiceProcess, tmp_path: Path) -> Iterator[tuple[httpx.Client, str]]:
    """A client of the service through nginx, which has our configuration but for ports, addresses and certificate.

    Also the address of nginx without TLS.
    """
    plain, tls = ReservedPort(), ReservedPort()
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME, "127.0.0.1")
    (tmp_path / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    text = NGINX.read_text()
    for found, replaced in (
        (r"    listen \[::\].*\n", ""),
        (r"listen 80;", f"listen 127.0.0.1:{plain.number};"),
        (r"listen 443 ssl;", f"listen 127.0.0.1:{tls.number} ssl;"),
        (r"127\.0\.0\.1:8000;", f"127.0.0.1:{local_service.port};"),
        (rf"/etc/ssl/{NAME}.pem", f"{tmp_path}/chain.pem"),
        (rf"/etc/ssl/{NAME}.key", f"{tmp_path}/key.pem"),
    ):
        text, count = re.subn(found, replaced, text)
        assert count >= 1, found
    (tmp_path / "sync.conf").write_text(text)
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; daemon off; master_process off; error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ access_log off; {folders} include {tmp_path}/sync.conf; }}\n"
    )
    command = ["nginx", "-p", str(tmp_path), "-e", f"{tmp_path}/error.log", "-c", str(tmp_path / "nginx.conf")]
    process = subprocess.Popen(command, env={"PATH": SEARCHED})
    context = ssl.create_default_context()
    authority.configure_trust(context)
    address = f"https://127.0.0.1:{tls.number}"
    with httpx.Client(base_url=address, headers={"Host": NAME}, verify=context, timeout=10) as client:
        yield client, f"http://127.0.0.1:{plain.number}"
    process.terminate()
    process.wait(10)


@pytest.mark.nginx
async def test_nginx_in_front_of_the_service(behind_nginx: tuple[httpx.Client, str]) -> None:
    client, plain = behind_nginx

    def is_up() -> bool:
        try:
            return client.get("/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    await until(is_up)
    settings = Settings(_env_file=None, auth0_domain="", secret_key=LOCAL_MODE["SECRET_KEY"])
    local_token = mint_local_token(settings, "chunker", list(Scope), None, datetime.now(UTC))
    client.headers["Authorization"] = f"Bearer {local_token}"
    event = {"file_id": str(uuid4()), "event_type": "upload"}
    created = client.post("/sync-events", json=event)
    assert created.status_code == httpx.codes.CREATED
    assert created.headers["Location"] == f"sync-events/{created.json()['event_id']}"
    assert client.get("/metrics").status_code == httpx.codes.NOT_FOUND
    too_much = b" " * (settings.max_batch_bytes + 1)
    too_large = client.post("/sync-events/batch", content=too_much, headers={"Content-Type": "application/json"})
    assert (too_large.status_code, too_large.headers["Content-Type"]) == (413, "application/problem+json")
    assert too_large.json()["status"] == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    with client.stream("GET", "/changes/stream") as stream:
        assert stream.status_code == httpx.codes.OK
        first = next(stream.iter_text())
    assert first, "what is sent arrives while the stream goes on"
    redirect = client.get(f"{plain}/docs")
    assert (redirect.status_code, redirect.headers["Location"]) == (308, f"https://{NAME}/docs")
