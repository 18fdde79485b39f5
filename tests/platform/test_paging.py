"""Page tokens and page sizes."""

import base64
import contextlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platform import errors, paging


@given(st.uuids())
def test_a_token_leads_back_to_its_id(last: UUID) -> None:
    assert paging.before(paging.token(last)) == last


@given(st.uuids())
def test_a_token_can_be_used_in_a_url_unescaped(last: UUID) -> None:
    assert set(paging.token(last)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_missing_token_means_the_first_page() -> None:
    assert paging.before("") == paging.NEWEST


GARBAGE = [
    "x",
    "=",
    "====",
    "\x00",
    "☃",
    "A" * 21,
    "A" * 23,
    "A" * 24,
    "A" * 2000,
    "AAAA AAAA AAAA AAAA AAAA AA",
    "'--",
]


@pytest.mark.parametrize("token", [*GARBAGE, base64.b64encode(b"seventeen bytes !").decode()])
def test_garbage_is_refused_and_names_the_page_token(token: str) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        paging.before(token)
    assert [violation.field for violation in raised.value.violations] == ["page_token"]


@given(st.text())
def test_token_of_any_text_is_an_id_or_rejected(token: str) -> None:
    with contextlib.suppress(errors.InvalidArgument):
        assert isinstance(paging.before(token), UUID)


@pytest.mark.parametrize(("requested", "size"), [(0, 50), (1, 1), (200, 200)])
def test_the_page_size_is_the_requested_one_and_50_by_default(requested: int, size: int) -> None:
    assert paging.page_size(requested) == size


@pytest.mark.parametrize("requested", [-1, 201, -(2**31), 2**31 - 1])
def test_a_page_size_out_of_bounds_is_refused_and_names_the_page_size(requested: int) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        paging.page_size(requested)
    assert [violation.field for violation in raised.value.violations] == ["page_size"]
