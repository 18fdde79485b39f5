"""TLS between the pods: the names in the certificate, and the pods that get it."""

from typing import Any

import pytest

from services.platform.settings import GrpcTlsSettings
from tests.chart import rendering
from tests.chart.rendering import Object

SHOWN_BY = ("gateway", "ingest", "delivery", "analytics")
ISSUED: dict[str, Any] = {"enabled": True, "certificate": {"issuerRef": {"name": "webhook-grpc", "kind": "Issuer"}}}
BROUGHT: dict[str, Any] = {"enabled": True, "existingSecret": "webhook-grpc"}
MOUNT = "/etc/webhook/grpc"


def rendered(tls: Object, layout: str = "five", **more: Any) -> list[Object]:
    return rendering.rendered(rendering.STORES | {"grpcTls": tls, "layout": layout}, **more)


def pod(objects: list[Object], component: str) -> Object:
    found: Object = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]
    return found


def secrets(spec: Object) -> list[str]:
    """Return the Secrets that a pod mounts for TLS."""
    return [volume["secret"]["secretName"] for volume in spec["volumes"] if volume["name"] == "grpc-tls"]


@pytest.mark.parametrize("release", ["demo", "a" * 53])
def test_the_certificate_has_the_names_that_clients_call(release: str) -> None:
    objects = rendered(ISSUED, release=release)
    (certificate,) = rendering.of_kind(objects, "Certificate")
    spec = certificate["spec"]
    called = rendering.environment(objects, pod(objects, "gateway")["containers"][0])
    names = {
        called[f"{each}_ADDR"].removeprefix("dns:///").partition(":")[0] for each in ("INGEST", "DELIVERY", "ANALYTICS")
    }
    assert names == {
        rendering.named(objects, "Service", f"-{each}")["metadata"]["name"]
        for each in ("ingest", "delivery", "analytics")
    }
    whole = {f"{name}{ending}" for name in names for ending in ("", ".webhook", ".webhook.svc")}
    assert sorted(spec["dnsNames"]) == sorted(whole)
    # Each process uses it as a server and as a client.
    assert {"server auth", "client auth"} <= set(spec["usages"])
    assert spec["issuerRef"] == {"name": "webhook-grpc", "kind": "Issuer"}
    assert (spec["duration"], spec["renewBefore"]) == ("2160h", "720h")


@pytest.mark.parametrize("layout", rendering.LAYOUTS)
@pytest.mark.parametrize(("tls", "secret"), [(ISSUED, "demo-webhook-service-grpc-tls"), (BROUGHT, "webhook-grpc")])
def test_certificate_is_mounted_in_pods_that_use_grpc_and_not_in_workers(tls: Object, secret: str, layout: str) -> None:
    objects = rendered(tls, layout)
    assert [each["spec"]["secretName"] for each in rendering.of_kind(objects, "Certificate")] == (
        [secret] if tls is ISSUED else []
    )
    variables = {name.upper() for name in GrpcTlsSettings.model_fields if name.startswith("grpc_tls_")}
    for roles, spec in rendering.deployments(objects):
        (container,) = spec["containers"]
        files = {
            name: value
            for name, value in rendering.environment(objects, container).items()
            if name.startswith("GRPC_TLS_")
        }
        mounts = [mount for mount in container["volumeMounts"] if mount["mountPath"] == MOUNT]
        if set(SHOWN_BY) & set(roles):
            assert secrets(spec) == [secret]
            # Mount the whole Secret, without subPath: a subPath mount is never updated.
            assert mounts == [{"name": "grpc-tls", "mountPath": MOUNT, "readOnly": True}]
            assert files.keys() == variables
            assert set(files.values()) == {f"{MOUNT}/{key}" for key in ("tls.crt", "tls.key", "ca.crt")}
        else:
            assert (secrets(spec), mounts, files) == ([], [], {})


def test_grpc_tls_is_off_by_default() -> None:
    objects = rendering.rendered(rendering.STORES)
    assert not rendering.of_kind(objects, "Certificate")
    for component in rendering.COMPONENTS:
        spec = pod(objects, component)
        assert secrets(spec) == []
        assert "GRPC_TLS_" not in str(rendering.environment(objects, spec["containers"][0]))


def test_a_certificate_without_an_issuer_is_rejected() -> None:
    why = rendering.refused(rendering.STORES | {"grpcTls": {"enabled": True}})
    assert "grpcTls.existingSecret" in why
    assert "grpcTls.certificate.issuerRef" in why


@pytest.mark.parametrize("program", rendering.HELMS)
@pytest.mark.parametrize(
    ("tls", "name"),
    [
        ({"enabled": "yes"}, "enabled"),
        ({"secret": "webhook-grpc"}, "secret"),
        ({"existingSecret": "Webhook_grpc"}, "existingSecret"),
        ({"certificate": {"issuerRef": {"kind": "Issuer"}}}, "name"),
        ({"certificate": {"issuerRef": {"nam": "webhook-grpc"}}}, "nam"),
        ({"certificate": {"duration": "90d"}}, "duration"),
        ({"certificate": {"renewBefore": 720}}, "renewBefore"),
    ],
)
def test_wrong_values_are_refused(tls: Object, name: str, program: str) -> None:
    why = rendering.refused(rendering.STORES | {"grpcTls": tls}, program=program)
    assert "schema" in why
    assert name in why
