"""The manifests as kubectl builds them: valid for several versions of Kubernetes, safe, and independent of Telnyx."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from exporter import __version__, config
from exporter.cli.healthcheck import LISTEN_ADDRESS
from exporter.cli.main import parse
from exporter.core.catalog import FAMILIES
from exporter.web.guard import HEALTH
from tests.deployment.test_image import instructions, program
from tools.generate_docs import TOP

pytestmark = pytest.mark.slow

FOLDER = TOP / "deploy" / "kubernetes"
OVERLAYS = ("fleet", "sidecar", "standalone")
VERSIONS = ("1.29", "1.31", "1.33", "1.35", "1.37")
"""Supported versions; 1.29 is the first with native sidecars enabled by default."""
OPERATORS = {"PodMonitor", "PrometheusRule", "ServiceMonitor"}
"""Kinds of the Prometheus operator, whose schemas are not part of Kubernetes."""
NAME = "telnyx-session-exporter"
NOBODY = 65534
SCRAPE_SECONDS = 15
KIB_256 = 262_144

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
Manifest = Mapping[str, Any]


@cache
def built(overlay: str) -> tuple[Manifest, ...]:
    command = [str(program("kubectl")), "kustomize", str(FOLDER / overlay)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    return tuple(yaml.safe_load_all(run.stdout))


def of_kind(overlay: str, kind: str) -> list[Manifest]:
    return [manifest for manifest in built(f"overlays/{overlay}") if manifest["kind"] == kind]


def pod(overlay: str) -> Manifest:
    """Return the template of the overlay's only pod."""
    (found,) = [spec for manifest in built(f"overlays/{overlay}") if (spec := manifest.get("spec", {}).get("template"))]
    pod: Manifest = found
    return pod


def containers(overlay: str) -> list[Manifest]:
    spec = pod(overlay)["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def exporter(overlay: str) -> Manifest:
    (found,) = [container for container in containers(overlay) if container["name"] == NAME]
    return found


# Valid


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", ["base", *(f"overlays/{overlay}" for overlay in OVERLAYS)])
def test_kubernetes_accepts_it(folder: str, version: str) -> None:
    """The manifests are valid in every version, in strict mode."""
    validated = [manifest for manifest in built(folder) if manifest["kind"] not in OPERATORS]
    for manifest in validated:
        assert kubernetes_validate.validate(manifest, version, strict=True) == version
    assert {"ConfigMap", "Deployment" if folder != "overlays/standalone" else "StatefulSet"} <= {
        manifest["kind"] for manifest in validated
    }


def test_an_unknown_key_is_an_error() -> None:
    """The validator rejects a manifest with an unknown key."""
    (service,) = of_kind("standalone", "Service")
    with pytest.raises(kubernetes_validate.ValidationError, match="unknown"):
        kubernetes_validate.validate({**service, "spec": {**service["spec"], "unknown": 1}}, VERSIONS[0], strict=True)


@every_overlay
def test_names_that_are_referred_to_exist(overlay: str) -> None:
    """The volumes, ConfigMaps and claims that a pod refers to exist; users create the Secrets, as documented."""
    spec = pod(overlay)["spec"]
    claims = {manifest["metadata"]["name"] for manifest in of_kind(overlay, "PersistentVolumeClaim")}
    made = [
        template
        for manifest in of_kind(overlay, "StatefulSet")
        for template in manifest["spec"]["volumeClaimTemplates"]
    ]
    volumes = {volume["name"]: volume for volume in spec["volumes"]} | {one["metadata"]["name"]: one for one in made}
    assert {mount["name"] for mount in exporter(overlay)["volumeMounts"]} == volumes.keys()
    maps = {manifest["metadata"]["name"] for manifest in of_kind(overlay, "ConfigMap")}
    for volume in volumes.values():
        assert volume.get("configMap", {}).get("name") in {None, *maps}
        assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
        assert volume.get("secret", {}).get("secretName") in {None, "telnyx", "telnyx-ledger"}
    documented = "".join((TOP / "docs" / page).read_text() for page in ("deploying.md", "fleet.md"))
    assert "create secret generic telnyx " in documented
    assert "create secret generic telnyx-ledger " in documented


# Safe


@every_overlay
def test_the_pod_is_restricted(overlay: str) -> None:
    """The pod fulfils the restricted Pod Security Standard, and its containers can write only to the ledger."""
    spec = pod(overlay)["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} <= {
        *("configMap", "secret", "persistentVolumeClaim"),
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["fsGroup"] == NOBODY
    for container in containers(overlay):
        holds = {**spec["securityContext"], **container["securityContext"]}
        assert holds["runAsNonRoot"] is True
        assert holds["runAsUser"] == NOBODY
        assert holds["seccompProfile"] == {"type": "RuntimeDefault"}
        assert holds["allowPrivilegeEscalation"] is False
        assert holds["readOnlyRootFilesystem"] is True
        assert holds["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in holds
        assert {"requests", "limits"} <= container["resources"].keys()
        assert "memory" in container["resources"]["limits"]
    writable = {mount["mountPath"] for mount in exporter(overlay)["volumeMounts"] if not mount.get("readOnly")}
    assert writable == (set() if overlay == "fleet" else {"/data"})
    assert f"{NOBODY}:{NOBODY}" in instructions("USER")


def test_the_sidecar_needs_nothing_of_the_pod() -> None:
    """The sidecar sets its own user, whatever user the pod or the app has."""
    own = exporter("sidecar")["securityContext"]
    assert own["runAsUser"] == own["runAsGroup"] == NOBODY
    assert own["runAsNonRoot"] is True
    assert own["seccompProfile"] == {"type": "RuntimeDefault"}


@every_overlay
def test_manifests_contain_no_secrets(overlay: str) -> None:
    """Key and password are files from Secrets, and neither in a ConfigMap nor in the environment."""
    assert of_kind(overlay, "Secret") == []
    assert "env" not in exporter(overlay)
    (account,) = settings(overlay).accounts
    assert str(account.api_key_file).startswith("/etc/telnyx/")
    if overlay == "fleet":
        assert str(settings(overlay).ledger.password_file) == "/etc/telnyx-ledger/password"


def settings(overlay: str) -> config.Config:
    """Return the overlay's configuration, parsed by the exporter."""
    (text,) = [m["data"]["config.yaml"] for m in of_kind(overlay, "ConfigMap") if m["metadata"]["name"] == NAME]
    return config.parse(text.encode(), "config.yaml")


@pytest.mark.parametrize(("overlay", "ports"), [("standalone", [53, 443]), ("fleet", [53, 443, 5432, 6432])])
def test_the_network_policy(overlay: str, ports: list[int]) -> None:
    """The policy allows scrapes in, and DNS, Telnyx and the ledger's server out, but no other internal address."""
    (policy,) = of_kind(overlay, "NetworkPolicy")
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["podSelector"]["matchLabels"].items() <= pod(overlay)["metadata"]["labels"].items()
    assert [rule["ports"] for rule in spec["ingress"]] == [[{"port": "metrics"}]]
    assert sorted({port["port"] for rule in spec["egress"] for port in rule["ports"]}) == ports
    blocks = [block for rule in spec["egress"] for block in rule.get("to", ())]
    excepted = [block["ipBlock"]["except"] for block in blocks if "ipBlock" in block]
    assert "10.0.0.0/8" in excepted[0]
    assert "169.254.0.0/16" in excepted[0]
    assert of_kind("sidecar", "NetworkPolicy") == []


# Probes


def test_the_sidecar_is_native() -> None:
    """The sidecar is an init container that keeps running: it starts before the app and ends after it."""
    spec = pod("sidecar")["spec"]
    assert [container["name"] for container in spec["initContainers"]] == [NAME]
    assert spec["initContainers"][0]["restartPolicy"] == "Always"
    assert NAME not in {container["name"] for container in spec["containers"]}


@every_overlay
def test_probes_are_independent_of_telnyx(overlay: str) -> None:
    """Startup and liveness probe the process, readiness the ledger; none depends on Telnyx."""
    container = exporter(overlay)
    (port,) = container["ports"]
    assert port["containerPort"] == int(LISTEN_ADDRESS.removeprefix(":"))
    probes = {name: container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
    assert all(probe["httpGet"]["port"] == port["name"] for probe in probes.values())
    healthy, ready = HEALTH
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert paths == {"startup": healthy, "readiness": ready, "liveness": healthy}
    longest = {name: probe["periodSeconds"] * probe["failureThreshold"] for name, probe in probes.items()}
    assert longest["startup"] >= 600, "a start may migrate a large ledger"
    assert longest["liveness"] >= 60
    assert probes["startup"]["periodSeconds"] == 1, "the app waits for the sidecar"


@every_overlay
def test_its_flags_exist(overlay: str) -> None:
    """The exporter parses the arguments, and the configuration is mounted at the path in them."""
    arguments = parse(exporter(overlay)["args"])
    (mount,) = [
        mount for mount in exporter(overlay)["volumeMounts"] if mount["mountPath"] == str(arguments.config_file.parent)
    ]
    (volume,) = [volume for volume in pod(overlay)["spec"]["volumes"] if volume["name"] == mount["name"]]
    assert volume["configMap"]["name"] == NAME
    assert arguments.auto_reload_interval > 0
    assert exporter(overlay)["image"].endswith(f":{__version__}")
    assert settings(overlay).ledger.url.startswith("postgresql:" if overlay == "fleet" else "sqlite:////data/")


# One ledger, one owner, one scrape


def test_the_ledger_outlives_the_pod() -> None:
    """The ledger lies on its own volume, which one pod at a time mounts."""
    (standalone,) = of_kind("standalone", "StatefulSet")
    (claim,) = standalone["spec"]["volumeClaimTemplates"]
    assert standalone["spec"]["replicas"] == 1
    assert standalone["spec"]["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    (deployment,) = of_kind("sidecar", "Deployment")
    (shared,) = of_kind("sidecar", "PersistentVolumeClaim")
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert claim["spec"]["accessModes"] == shared["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_pods_of_the_fleet_are_interchangeable() -> None:
    """The fleet has several pods without volumes, spread over nodes; a rollout or drain stops one at a time."""
    (deployment,) = of_kind("fleet", "Deployment")
    assert of_kind("fleet", "PersistentVolumeClaim") == of_kind("fleet", "StatefulSet") == []
    assert deployment["spec"]["replicas"] > 1
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert (
        deployment["spec"]["minReadySeconds"]
        > settings("fleet").ledger.exposition_handover_seconds
        >= 2 * SCRAPE_SECONDS
    )
    (budget,) = of_kind("fleet", "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    labels = pod("fleet")["metadata"]["labels"].items()
    apart = pod("fleet")["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    selectors = [term["podAffinityTerm"]["labelSelector"] for term in apart] + [budget["spec"]["selector"]]
    assert all(selector["matchLabels"].items() <= labels for selector in selectors)


def test_the_ledgers_series_have_the_fleets_name() -> None:
    """The ledger's samples, and no others, get the same instance label, so a series continues on another replica."""
    (monitor,) = of_kind("fleet", "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    (rule,) = endpoint["metricRelabelings"]
    assert (rule["sourceLabels"], rule["targetLabel"], rule["replacement"]) == (["__name__"], "instance", "fleet")
    assert endpoint["relabelings"][-1] == {"action": "labeldrop", "regex": "pod|container|node"}
    for family in FAMILIES:
        parts = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        renamed = {bool(re.fullmatch(rule["regex"], family.name + part)) for part in parts}
        assert renamed == {family.home == "ledger"}, family.name
    assert rule["regex"] in (TOP / "docs" / "fleet.md").read_text(), "users without the operator need the rule as well"


def test_each_pod_is_scraped_once() -> None:
    """One monitor scrapes each pod, at the named port; two monitors would count all costs twice."""
    for overlay, kind, other, endpoints in (
        ("fleet", "ServiceMonitor", "PodMonitor", "endpoints"),
        ("standalone", "ServiceMonitor", "PodMonitor", "endpoints"),
        ("sidecar", "PodMonitor", "ServiceMonitor", "podMetricsEndpoints"),
    ):
        (monitor,) = of_kind(overlay, kind)
        assert of_kind(overlay, other) == []
        (endpoint,) = monitor["spec"][endpoints]
        assert endpoint["interval"] == f"{SCRAPE_SECONDS}s"
        (port,) = exporter(overlay)["ports"]
        assert endpoint["port"] == port["name"]
    (pods,) = of_kind("sidecar", "PodMonitor")
    assert pods["spec"]["selector"]["matchLabels"].items() <= pod("sidecar")["metadata"]["labels"].items()
    for overlay in ("fleet", "standalone"):
        (services,), (service,) = of_kind(overlay, "ServiceMonitor"), of_kind(overlay, "Service")
        assert services["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert service["spec"]["selector"].items() <= pod(overlay)["metadata"]["labels"].items()
        assert service["spec"]["ports"] == [{"name": "metrics", "port": 9464, "targetPort": "metrics"}]
    assert NAME.startswith("telnyx"), "the alerts select jobs with telnyx in their name"


# The same files


def of_files(pattern: str) -> Iterator[tuple[str, str]]:
    for file in sorted(TOP.glob(pattern)):
        yield file.name, file.read_text()


@every_overlay
def test_dashboards_are_the_generated_ones(overlay: str) -> None:
    """The manifests contain all dashboards byte for byte, with the label that Grafana's sidecar selects."""
    maps = [m for m in of_kind(overlay, "ConfigMap") if m["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    assert sorted((name, text) for found in maps for name, text in found["data"].items()) == list(
        of_files("grafana/dashboards/*.json")
    )
    assert all(len(yaml.safe_dump(found)) < KIB_256 for found in maps), (
        "kubectl apply stores a copy in an annotation, which has a limit"
    )


@every_overlay
def test_rules_are_those_of_the_repository(overlay: str) -> None:
    """The rules are there as files for a plain Prometheus, and as groups for the operator."""
    (files,) = [m for m in of_kind(overlay, "ConfigMap") if m["metadata"]["name"] == "telnyx-rules"]
    rules = dict(of_files("prometheus/rules/*.yml"))
    assert files["data"] == rules
    (rule,) = of_kind(overlay, "PrometheusRule")
    assert rule["spec"] == {"groups": [group for text in rules.values() for group in yaml.safe_load(text)["groups"]]}


def test_the_exporter_is_the_same_everywhere() -> None:
    """The exporter has the same arguments, probes and security context in all overlays."""
    sidecar, alone, one_of_many = exporter("sidecar"), exporter("standalone"), exporter("fleet")
    for key in ("image", "args"):
        assert sidecar[key] == alone[key]
    assert {**one_of_many, "volumeMounts": ()} == {**alone, "volumeMounts": ()}
    assert alone["securityContext"].items() <= sidecar["securityContext"].items()
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        ported = {**sidecar[name], "httpGet": {**sidecar[name]["httpGet"], "port": "metrics"}}
        assert ported == alone[name]
