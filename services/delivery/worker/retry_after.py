"""What a receiver's Retry-After says (RFC 9110, 10.2.3)."""

import math
import re
from datetime import UTC, datetime

# RFC 9110, 5.6.7: the preferred form, and the two obsolete ones that must be understood.
_RFC_850 = "%A, %d-%b-%y %H:%M:%S GMT"
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", _RFC_850, "%a %b %d %H:%M:%S %Y")
# A year of two digits further ahead is taken for one of the past century.
_YEARS_AHEAD = 50
# Not in the RFC, and sent all the same: a fraction, as by a limiter that says how many milliseconds are left.
_NUMBER = re.compile(rb"\d+(?:\.\d*)?|\.\d+")


def seconds(value: bytes, now: datetime) -> float:
    """Return how long to wait from `now`: whole seconds, a fraction rounded up.

    0 for a moment that has passed, and for what is neither a number nor a date.
    """
    value = value.strip()
    if _NUMBER.fullmatch(value):
        return float(math.ceil(float(value)))
    for form in _DATES:
        try:
            moment = _moment(value.decode("ascii"), form, now)
        except ValueError:
            continue
        return max(0.0, (moment - now).total_seconds())
    return 0.0


def _moment(text: str, form: str, now: datetime) -> datetime:
    moment = datetime.strptime(text, form).replace(tzinfo=UTC)
    if form is _RFC_850:
        year = now.year - now.year % 100 + moment.year % 100
        moment = moment.replace(year=year - 100 if year > now.year + _YEARS_AHEAD else year)
    return moment
