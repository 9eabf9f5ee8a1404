"""Reads the Dockerfiles and docker-compose.yml as Docker does, as far as the tests need it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

Instruction = tuple[str, str]


def instructions(name: str) -> list[Instruction]:
    """The instructions of a Dockerfile in order, each with its arguments on one line."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(keyword, arguments) for keyword, _, arguments in (line.partition(" ") for line in joined.splitlines())]


def last_stage(name: str) -> list[Instruction]:
    """The instructions that the image itself is made of."""
    found = instructions(name)
    begin = max(index for index, (keyword, _) in enumerate(found) if keyword == "FROM")
    return found[begin:]


def only(name: str, keyword: str) -> str:
    """The arguments of an instruction that the last stage has once."""
    (arguments,) = (text for word, text in last_stage(name) if word == keyword)
    return arguments


def exec_form(arguments: str) -> list[str]:
    """The command in the arguments of CMD or HEALTHCHECK."""
    command: list[str] = json.loads(arguments[arguments.index("[") :])
    return command


def image_environment() -> dict[str, str]:
    """What ENV sets in the image of the service."""
    return dict(re.findall(r"(\w+)=(\S+)", only("Dockerfile", "ENV")))


def copied() -> list[str]:
    """What both Dockerfiles copy from the folder that they are built in."""
    sources = (
        argument.split()[:-1]
        for name in ("Dockerfile", "Dockerfile.test")
        for keyword, argument in instructions(name)
        if keyword == "COPY" and "--from=" not in argument
    )
    return [source for names in sources for source in names if not source.startswith("--")]


def env_file(path: Path) -> dict[str, str]:
    """What `docker run --env-file` makes of a file: no quotes, no comments behind a value."""
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose_services(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml, with `${NAME:-default}` filled in from `variables`."""
    services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service in services.values():
        given = service.get("environment", {})
        service["environment"] = {name: _fill(text, variables) for name, text in given.items()}
    return services


def _fill(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: variables.get(match[1]) or match[2], text)


def seconds(duration: str) -> int:
    """The seconds of a duration such as `45s`."""
    assert duration.endswith("s"), duration
    return int(duration.removesuffix("s"))
