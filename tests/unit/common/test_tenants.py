"""Names of tenants."""

import pytest

from services.common import errors, tenants


@pytest.mark.parametrize("tenant_id", ["default", "a", "0", "acme-2_x", "a" * 63])
def test_a_tenants_name_stands_as_it_is(tenant_id: str) -> None:
    assert tenants.of(tenant_id) == tenant_id


def test_no_name_means_the_default_tenant() -> None:
    assert tenants.of("") == "default"


@pytest.mark.parametrize("tenant_id", ["A", "-a", "_a", "a" * 64, "a b", "a\x00", "a\n", "é", "a/b", "٣"])
def test_what_can_be_no_name_is_refused_with_its_field(tenant_id: str) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        tenants.of(tenant_id)
    assert [violation.field for violation in raised.value.violations] == ["tenant_id"]
