"""The models of the event catalog."""

import pytest
from pydantic import ValidationError

from services.domain import events
from services.gateway.resources.event_types import EventTypeBody


def test_the_error_of_a_name_says_what_a_name_may_have() -> None:
    assert EventTypeBody(name="invoice.paid", schema={}).name == "invoice.paid"
    with pytest.raises(ValidationError) as refused:
        EventTypeBody(name="invoice paid", schema={})
    assert [(one["loc"], one["msg"]) for one in refused.value.errors()] == [
        (("name",), f"Value error, {events.TYPE_EXPECTED}")
    ]
