"""How people sign in, as the chart passes it to ingest and to nobody else."""

import json
from typing import Any

import pytest

from services.ingest.access.oidc.settings import OidcSettings
from tests.chart import rendering


@pytest.mark.parametrize("layout", rendering.LAYOUTS)
def test_only_ingest_gets_the_issuer_and_the_secret_in_a_form_that_it_reads(layout: str) -> None:
    objects = rendering.rendered({**rendering.STORES, "layout": layout, "oidc": rendering.OIDC})
    for roles, pod in rendering.deployments(objects):
        (container,) = pod["containers"]
        found = {
            name: value for name, value in rendering.environment(objects, container).items() if name.startswith("OIDC_")
        }
        if "ingest" not in roles:
            assert found == {}
            continue
        (secret,) = [entry for entry in container["env"] if entry["name"] == "OIDC_CLIENT_SECRET"]
        assert secret["valueFrom"]["secretKeyRef"] == {"name": "webhook-oidc", "key": "client-secret"}
        fields = {name.lower(): value for name, value in found.items()} | {"oidc_client_secret": "secret"}
        settings = OidcSettings.model_validate(fields)
        assert (settings.oidc_issuer, settings.oidc_client_id) == (rendering.OIDC["issuer"], "webhooks")
        given = [(each.group, each.role, each.tenant_id) for each in settings.group_roles]
        assert given == [("CN=ops, staff", "admin", "default"), ("acme", "read", "acme")]
        assert json.loads(found["OIDC_GROUP_ROLES"]) == rendering.OIDC["groupRoles"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"issuer": "http://login.example.com"}, "oidc.issuer"),
        ({"clientId": ""}, "oidc.clientId"),
        ({"redirectUrl": "https://webhooks.example.com/"}, "oidc.redirectUrl"),
        ({"groupRoles": []}, "oidc.groupRoles"),
        ({"groupRoles": [{"group": "a", "role": "ingest"}]}, "role"),
    ],
)
def test_values_with_which_nobody_could_sign_in_are_refused(changes: dict[str, Any], named: str) -> None:
    assert named in rendering.refused({**rendering.STORES, "oidc": {**rendering.OIDC, **changes}})
