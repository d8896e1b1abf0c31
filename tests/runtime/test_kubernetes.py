"""What samples/kubernetes holds renders, is valid, and goes with what the runtime understands."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from line_records import program

from patchcore_edge_runtime import __version__
from patchcore_edge_runtime.line.config_file import load_line
from patchcore_edge_runtime.monitoring.prometheus import prometheus_text
from patchcore_edge_runtime.monitoring.status import LineStatus

REPOSITORY = Path(__file__).resolve().parents[2]
KUBERNETES = REPOSITORY / "samples" / "kubernetes"
OLDEST, NEWEST = "1.29", "1.37"
BY_HAND = {"patchcore-edge-http": "token", "grafana-admin": "password"}


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    """Everything that `kubectl apply -k` would send."""
    own = Path(sysconfig.get_path("scripts")) / "kubectl"
    kubectl = str(own) if own.is_file() else program("kubectl")
    done = subprocess.run([kubectl, "kustomize", KUBERNETES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [one for one in manifests if one["kind"] in kinds]


def named(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in manifests}


def pods(manifests: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    found = of_kind(manifests, "Deployment", "StatefulSet")
    return [(one["metadata"]["name"], one["spec"]["template"]) for one in found]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_what_is_rendered_is_valid_and_has_no_key_that_nobody_knows(
    manifests: list[dict[str, Any]], version: str
) -> None:
    assert {"Deployment", "StatefulSet", "Service", "ConfigMap", "NetworkPolicy"} <= {one["kind"] for one in manifests}
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)
    broken = json.loads(json.dumps(of_kind(manifests, "StatefulSet")[0]))
    broken["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_each_line_is_in_order_and_asks_the_server_that_is_there(
    manifests: list[dict[str, Any]], tmp_path: Path
) -> None:
    services = named(of_kind(manifests, "Service"))
    lines = of_kind(manifests, "StatefulSet")
    assert [line["metadata"]["name"] for line in lines] == ["line3", "line4"]
    maps = named(of_kind(manifests, "ConfigMap"))
    for line in lines:
        volumes = line["spec"]["template"]["spec"]["volumes"]
        (name,) = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
        file = tmp_path / f"{name}.toml"
        file.write_text(maps[name]["data"]["line.toml"])
        config = load_line(file, {}, {})
        address = config.server_settings.address
        ports = {port["port"]: port["name"] for port in services[address.host]["spec"]["ports"]}
        assert ports[address.port] == address.scheme
        assert address.model == line["metadata"]["name"]
        assert config.sinks["http"].token_env == "HTTP_TOKEN"
        mounts = line["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        written = [config.sinks["jsonl"].path, config.sinks["archive"].folder]
        data = next(mount["mountPath"] for mount in mounts if mount["name"] == "data")
        assert all(path.is_relative_to(data) for path in written)


def test_the_server_is_told_where_what_repository_writes_lies(manifests: list[dict[str, Any]]) -> None:
    server = named(of_kind(manifests, "Deployment"))["model-server"]["spec"]["template"]["spec"]["containers"][0]
    arguments = dict(zip(server["args"][::2], server["args"][1::2], strict=True))
    (models,) = [mount for mount in server["volumeMounts"] if mount["name"] == "models"]
    assert arguments["--config_path"] == models["mountPath"] + "/config.json"
    assert models["readOnly"]
    ports = {port["name"]: str(port["containerPort"]) for port in server["ports"]}
    assert (arguments["--port"], arguments["--rest_port"]) == (ports["grpc"], ports["http"])


def test_no_pod_is_root_writes_its_image_or_goes_unwatched(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests):
        assert pod["spec"]["securityContext"]["runAsNonRoot"], name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        for container in pod["spec"]["containers"]:
            locked = container["securityContext"]
            assert locked["readOnlyRootFilesystem"], name
            assert not locked["allowPrivilegeEscalation"], name
            assert locked["capabilities"]["drop"] == ["ALL"], name
            assert {"readinessProbe", "livenessProbe", "resources"} <= set(container), name
            assert "memory" in container["resources"]["limits"], name
            assert container["image"].partition(":")[2] not in ("", "latest"), name


def test_lines_run_the_version_that_this_is(manifests: list[dict[str, Any]]) -> None:
    images = {pod["spec"]["containers"][0]["image"] for name, pod in pods(manifests) if name.startswith("line")}
    assert images == {f"patchcore-edge-runtime:{__version__}"}, "set newTag in samples/kubernetes/kustomization.yaml"
    assert f"-t patchcore-edge-runtime:{__version__} " in (REPOSITORY / "docs" / "serving.md").read_text("utf-8")


def test_services_find_their_pods_and_pods_what_they_name(manifests: list[dict[str, Any]]) -> None:
    there = {kind: set(named(of_kind(manifests, kind))) for kind in ("ConfigMap", "PersistentVolumeClaim")}
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(manifests)}
    for service in of_kind(manifests, "Service"):
        selector = service["spec"]["selector"].items()
        found = [name for name, has in labels.items() if selector <= has.items()]
        own = service["metadata"]["name"]
        assert found == (["line3", "line4"] if own == "lines" else [own])
    for name, pod in pods(manifests):
        for volume in pod["spec"]["volumes"]:
            assert volume.get("configMap", {}).get("name", next(iter(there["ConfigMap"]))) in there["ConfigMap"], name
            claim = volume.get("persistentVolumeClaim")
            assert claim is None or claim["claimName"] in there["PersistentVolumeClaim"], name
            assert volume.get("secret", {}).get("secretName", "grafana-admin") in BY_HAND, name
        for variable in pod["spec"]["containers"][0].get("env", []):
            secret = variable.get("valueFrom", {}).get("secretKeyRef")
            assert secret is None or BY_HAND[secret["name"]] == secret["key"], name


def test_what_has_to_be_made_by_hand_is_in_the_docs() -> None:
    page = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
    for secret, key in BY_HAND.items():
        assert f"create secret generic {secret} --from-literal={key}=" in page


def test_dashboards_ask_for_metrics_that_lines_have() -> None:
    status = LineStatus("line")
    exported = set(re.findall(r"^# TYPE (\w+)", prometheus_text([status.snapshot()]), flags=re.MULTILINE))
    panels = json.loads((KUBERNETES / "dashboards" / "lines.json").read_text(encoding="utf-8"))["panels"]
    asked = {
        name for panel in panels for target in panel["targets"] for name in re.findall(r"patchcore_\w+", target["expr"])
    }
    assert asked
    assert asked <= exported
