"""The manifests of deploy/kubernetes agree with the original's, with each other and with the image."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from app.database.url import parse_database_url
from tests.conftest import ROOT
from tests.deploy.manifests import (
    KUBERNETES,
    MIGRATION,
    MONITORING,
    Document,
    by_identity,
    container,
    has,
    pod,
    read,
    render,
    resource,
    resources,
)

ORIGINAL = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: sync-service}
spec:
  replicas: 3
  selector: {matchLabels: {app: sync-service}}
  template:
    metadata: {labels: {app: sync-service}}
    spec:
      containers:
      - name: sync-service
        image: sync-service:latest
        ports: [{containerPort: 8000}]
        env:
        - name: DATABASE_URL
          valueFrom: {secretKeyRef: {name: sync-secrets, key: database-url}}
        resources:
          requests: {memory: "256Mi", cpu: "250m"}
          limits: {memory: "512Mi", cpu: "500m"}
"""
SELECTED = {"app": "sync-service"}

pod_templates = pytest.mark.parametrize(("kind", "folder"), [("Deployment", KUBERNETES), ("Job", MIGRATION)])


@pytest.mark.kubectl
@pytest.mark.parametrize("folder", [KUBERNETES, MIGRATION, MONITORING], ids=lambda folder: folder.name)
def test_rendering_changes_nothing_but_the_name_of_the_settings(folder: Path) -> None:
    rendered = yaml.safe_dump(render(folder))
    for kind, name in by_identity(yaml.safe_load(rendered)):
        if kind == "ConfigMap":
            assert rendered.count(name) == 2, "the ConfigMap and the reference to it"
            rendered = rendered.replace(name, name.rpartition("-")[0])
    assert by_identity(yaml.safe_load(rendered)) == by_identity(resources(folder))


def test_the_originals_manifest_is_contained() -> None:
    assert has(resource("Deployment"), yaml.safe_load(ORIGINAL))


@pod_templates
def test_pods_meet_the_restricted_pod_security_standard(kind: str, folder: Path) -> None:
    spec, only = pod(kind, folder), container(kind, folder)
    assert has(spec["securityContext"], {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}})
    (user,) = re.findall(r"^USER (\d+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert spec["securityContext"]["runAsUser"] == int(user)
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(set(volume) == {"name", "emptyDir"} for volume in spec["volumes"])
    assert {mount["mountPath"] for mount in only["volumeMounts"]} == {"/data", "/tmp"}  # noqa: S108
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)


@pod_templates
def test_pods_get_no_token_and_no_variables_of_other_services(kind: str, folder: Path) -> None:
    spec = pod(kind, folder)
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)


@pod_templates
def test_pods_take_the_database_from_the_secret_and_the_image_from_the_kustomization(kind: str, folder: Path) -> None:
    only = container(kind, folder)
    (original,) = yaml.safe_load(ORIGINAL)["spec"]["template"]["spec"]["containers"]
    assert has(only["env"], original["env"])
    assert only["image"] == original["image"]
    # Left out, it means Always for `latest` and IfNotPresent for a release.
    assert "imagePullPolicy" not in only
    assert read(folder / "kustomization.yaml")["images"] == read(KUBERNETES / "kustomization.yaml")["images"]


def test_the_service_accounts_token_is_not_mounted() -> None:
    account = resource("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert pod()["serviceAccountName"] == account["metadata"]["name"]


def test_the_namespace_enforces_what_the_pods_meet() -> None:
    labels = read(KUBERNETES / "namespace.yaml")["metadata"]["labels"]
    assert labels == {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


def test_the_secret_has_what_the_pods_take_from_it() -> None:
    database = {"name": "sync-secrets", "key": "database-url"}
    optional = {
        "WEBHOOK_ENCRYPTION_KEYS": "webhook-encryption-keys",  # older Secrets have none
        "CONSISTENCY_TOKEN": "consistency-token",
        "AUTH0_CLIENT_SECRET": "auth0-client-secret",
    }
    assert from_secret("Job", MIGRATION) == {"DATABASE_URL": database}
    assert from_secret("Deployment", KUBERNETES) == {"DATABASE_URL": database} | {
        name: {"name": "sync-secrets", "key": key, "optional": True} for name, key in optional.items()
    }
    example = read(KUBERNETES / "secret.example.yaml")["stringData"]
    text = (KUBERNETES / "README.md").read_text()
    assert list(example) == [database["key"], *optional.values()]
    assert re.findall(r"--from-file=([a-z-]+)=<", text) == [database["key"], "webhook-encryption-keys"]
    assert all(f"`{key}`" in text or f'"{key}"' in text for key in optional.values())


def from_secret(kind: str, folder: Path) -> dict[str, Document]:
    """The variables of a pod, each with its place in the Secret."""
    return {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container(kind, folder)["env"]}


def test_the_secret_is_an_example_and_never_applied() -> None:
    secret = read(KUBERNETES / "secret.example.yaml")
    assert secret["metadata"]["name"] == "sync-secrets"
    assert not parse_database_url(secret["stringData"]["database-url"]).is_sqlite
    assert "Secret" not in {document["kind"] for document in resources(KUBERNETES) + resources(MIGRATION)}


def test_everything_selects_the_service_and_nothing_else() -> None:
    deployment = resource("Deployment")["spec"]
    assert [
        deployment["selector"]["matchLabels"],
        resource("Service")["spec"]["selector"],
        resource("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        resource("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        resource("ServiceMonitor", MONITORING)["spec"]["selector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in pod()["topologySpreadConstraints"]),
    ] == [SELECTED] * 7
    assert has(deployment["template"]["metadata"]["labels"], SELECTED)
    assert has(resource("Service")["metadata"]["labels"], SELECTED)
    job = resource("Job", MIGRATION)["spec"]["template"]["metadata"]["labels"]
    assert not has(job, SELECTED)
    assert has(job, resource("NetworkPolicy", MIGRATION)["spec"]["podSelector"]["matchLabels"])


def test_replicas_are_spread_and_never_fewer_than_two_or_three() -> None:
    deployment, scaler = resource("Deployment")["spec"], resource("HorizontalPodAutoscaler")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (deployment["replicas"], 6)
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sync-service"}
    assert deployment["replicas"] - resource("PodDisruptionBudget")["spec"]["maxUnavailable"] == 2
    assert [spread["topologyKey"] for spread in pod()["topologySpreadConstraints"]] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]


def test_the_readmes_command_makes_a_prometheus_rule_of_the_alerts() -> None:
    text = (KUBERNETES / "README.md").read_text()
    command = text[text.index("{ cat ") : text.index("} \\\n") + 1]
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    rule = yaml.safe_load(done.stdout)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == read(ROOT / "deploy" / "monitoring" / "alerts.yaml")
