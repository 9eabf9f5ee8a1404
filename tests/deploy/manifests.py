"""Reads the manifests of deploy/kubernetes, as they are written and as `kubectl kustomize` renders them."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
MIGRATION = KUBERNETES / "migration"
MONITORING = KUBERNETES / "monitoring"

Document = dict[str, Any]


def read(path: Path) -> Document:
    """The one document of a file."""
    document: Document = yaml.safe_load(path.read_text())
    return document


def resources(folder: Path) -> list[Document]:
    """The documents that a folder's kustomization lists, and the ConfigMaps that it generates."""
    kustomization = read(folder / "kustomization.yaml")
    generated = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": generator["name"]},
            "data": dict(literal.split("=", 1) for literal in generator["literals"]),
        }
        for generator in kustomization.get("configMapGenerator", [])
    ]
    return [read(folder / name) for name in kustomization["resources"]] + generated


def resource(kind: str, folder: Path = KUBERNETES) -> Document:
    """The one document of a kind."""
    (found,) = (document for document in resources(folder) if document["kind"] == kind)
    return found


def pod(kind: str = "Deployment", folder: Path = KUBERNETES) -> Document:
    """The pod spec of a Deployment or Job."""
    spec: Document = resource(kind, folder)["spec"]["template"]["spec"]
    return spec


def container(kind: str = "Deployment", folder: Path = KUBERNETES) -> Document:
    """The one container of a Deployment or Job."""
    (only,) = pod(kind, folder)["containers"]
    found: Document = only
    return found


def render(folder: Path) -> list[Document]:
    """What `kubectl apply -k` would send."""
    command = ["kubectl", "kustomize", str(folder)]  # found on the path, as an operator's is
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return list(yaml.safe_load_all(done.stdout))


def has(actual: Any, expected: Any) -> bool:
    """Whether all of `expected` stands at the same place in `actual`; lists and mappings may hold more."""
    if isinstance(expected, dict):
        return all(key in actual and has(actual[key], value) for key, value in expected.items())
    if isinstance(expected, list):
        return all(any(has(item, value) for item in actual) for value in expected)
    return bool(actual == expected)


def by_identity(documents: list[Document]) -> dict[tuple[str, str], Document]:
    """Documents by kind and name."""
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}
