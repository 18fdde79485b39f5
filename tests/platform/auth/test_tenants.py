"""The tenant that a call acts for."""

import contextvars

import pytest

from services.platform import errors
from services.platform.auth import identity, tenants
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role

ACME = Identity(tenant_id="acme", role=Role.WRITE, key_id="1")
ADMIN = Identity(tenant_id="acme", role=Role.ADMIN, key_id="2")


@pytest.mark.parametrize("tenant_id", ["default", "a", "0", "acme-2_x", "a" * 63])
def test_the_service_itself_acts_for_any_tenant(tenant_id: str) -> None:
    identity.CALLER.set(identity.INTERNAL)
    assert tenants.of(tenant_id) == tenant_id


def test_no_name_means_the_callers_own_tenant() -> None:
    identity.CALLER.set(identity.INTERNAL)
    assert tenants.of("") == "default"
    identity.CALLER.set(ACME)
    assert tenants.of("") == tenants.of("acme") == "acme"


def test_an_admin_acts_for_any_tenant_and_lists_all() -> None:
    identity.CALLER.set(ADMIN)
    assert (tenants.of("other"), tenants.of("")) == ("other", "acme")
    assert (tenants.of_list("*"), tenants.of_list("other"), tenants.of_list("")) == (None, "other", "acme")
    with pytest.raises(errors.InvalidArgument):
        tenants.of("*")


def test_nobody_else_lists_all_tenants() -> None:
    identity.CALLER.set(ACME)
    with pytest.raises(errors.PermissionDenied):
        tenants.of_list("*")


@pytest.mark.parametrize("stated", ["default", "acme2", "ACME", "-"])
def test_a_key_does_not_act_for_another_tenant(stated: str) -> None:
    identity.CALLER.set(ACME)
    with pytest.raises(errors.PermissionDenied) as raised:
        tenants.of(stated)
    assert [violation.field for violation in raised.value.violations] == ["tenant_id"]
    assert raised.value.reason == "TENANT_FORBIDDEN"


@pytest.mark.parametrize("tenant_id", ["A", "-a", "_a", "a" * 64, "a b", "a\x00", "a\n", "é", "a/b", "٣"])
def test_what_can_be_no_name_is_refused_with_its_field(tenant_id: str) -> None:
    identity.CALLER.set(identity.INTERNAL)
    with pytest.raises(errors.InvalidArgument) as raised:
        tenants.of(tenant_id)
    assert [violation.field for violation in raised.value.violations] == ["tenant_id"]


def test_without_a_caller_there_is_no_tenant() -> None:
    with pytest.raises(LookupError):
        contextvars.Context().run(tenants.of, "")
