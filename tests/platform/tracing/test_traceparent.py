import pytest

from services.platform.tracing import spans
from services.platform.tracing.spans import Parent

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_a_header_names_its_span_and_whether_it_is_sampled(flags: str, sampled: bool) -> None:  # noqa: FBT001 - a parameter of the test
    parent = spans.parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    assert parent == Parent(int(TRACE_ID, 16), int(SPAN_ID, 16), sampled)


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert spans.parse_traceparent(f"cc-{TRACE_ID}-{SPAN_ID}-01") is not None
    assert spans.parse_traceparent(f"cc-{TRACE_ID}-{SPAN_ID}-01-what-comes-then") is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-01 ",
        f"00-{TRACE_ID}-{SPAN_ID}-01\n",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"cc-{TRACE_ID}-{SPAN_ID}-01.more",
        f"00_{TRACE_ID}_{SPAN_ID}_01",
        "00-٠bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",  # noqa: RUF001 - a digit, but no digit of ASCII
    ],
)
def test_malformed_header_is_ignored(text: str) -> None:
    assert spans.parse_traceparent(text) is None


def test_written_header_is_parsed_back() -> None:
    text = spans.write_traceparent(7, 8, 1)
    assert text == f"00-{7:032x}-{8:016x}-01"
    assert spans.parse_traceparent(text) == Parent(7, 8, sampled=True)
