"""The tenant that a call acts for."""

import contextvars

import pytest

from services.platform import errors
from services.platform.auth import identity
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role

ACME = Identity(tenant_id="acme", role=Role.WRITE, key_id="1")
ADMIN = Identity(tenant_id="acme", role=Role.ADMIN, key_id="2")


@pytest.mark.parametrize("tenant_id", ["default", "a", "0", "acme-2_x", "a" * 63])
def test_the_service_itself_acts_for_any_tenant(tenant_id: str) -> None:
    identity.CALLER.set(identity.INTERNAL)
    assert identity.tenant_of(tenant_id) == tenant_id


def test_tenant_defaults_to_that_of_the_caller() -> None:
    identity.CALLER.set(identity.INTERNAL)
    assert identity.tenant_of("") == "default"
    identity.CALLER.set(ACME)
    assert identity.tenant_of("") == identity.tenant_of("acme") == "acme"


def test_an_admin_acts_for_any_tenant_and_lists_all() -> None:
    identity.CALLER.set(ADMIN)
    assert (identity.tenant_of("other"), identity.tenant_of("")) == ("other", "acme")
    assert (identity.tenant_of_list("*"), identity.tenant_of_list("other"), identity.tenant_of_list("")) == (
        None,
        "other",
        "acme",
    )
    with pytest.raises(errors.InvalidArgument):
        identity.tenant_of("*")


def test_lists_of_all_tenants_are_only_for_operators() -> None:
    identity.CALLER.set(ACME)
    with pytest.raises(errors.PermissionDenied):
        identity.tenant_of_list("*")


@pytest.mark.parametrize("stated", ["default", "acme2", "ACME", "-"])
def test_a_key_does_not_act_for_another_tenant(stated: str) -> None:
    identity.CALLER.set(ACME)
    with pytest.raises(errors.PermissionDenied) as raised:
        identity.tenant_of(stated)
    assert [violation.field for violation in raised.value.violations] == ["tenant_id"]
    assert raised.value.reason == "TENANT_FORBIDDEN"


@pytest.mark.parametrize("tenant_id", ["A", "-a", "_a", "a" * 64, "a b", "a\x00", "a\n", "é", "a/b", "٣"])
def test_invalid_tenant_name_is_rejected_with_its_field(tenant_id: str) -> None:
    identity.CALLER.set(identity.INTERNAL)
    with pytest.raises(errors.InvalidArgument) as raised:
        identity.tenant_of(tenant_id)
    assert [violation.field for violation in raised.value.violations] == ["tenant_id"]


def test_tenant_is_undefined_without_a_caller() -> None:
    with pytest.raises(LookupError):
        contextvars.Context().run(identity.tenant_of, "")
