"""The expressions that boards are made of, over the series of one release.

Counters are summed over copies. What every copy measures alike, such as the depth of the queue, is their maximum.
"""

from dev.boards.grafana import Query

HERE = 'namespace="$namespace", release="$release"'
INTERVAL = "$__rate_interval"


def series(metric: str, *matchers: str) -> str:
    """Return the series of a metric, of this release."""
    return f"{metric}{{{', '.join((HERE, *matchers))}}}"


def rate(metric: str, *matchers: str, by: str = "", interval: str = INTERVAL) -> str:
    """Return a counter's growth per second, over all copies."""
    return f"sum{_by(by)} (rate({series(metric, *matchers)}[{interval}]))"


def increase(metric: str, *matchers: str, by: str = "", interval: str = INTERVAL) -> str:
    """Return a counter's growth within an interval, over all copies."""
    return f"sum{_by(by)} (increase({series(metric, *matchers)}[{interval}]))"


def whole(expr: str) -> str:
    """Events in whole numbers: an increase is reckoned to the ends of its interval, and 1 becomes 1.04."""
    return f"round({expr})"


def total(metric: str, *matchers: str, by: str = "") -> str:
    """Sum a gauge of which each copy has its part."""
    return f"sum{_by(by)} ({series(metric, *matchers)})"


def alike(metric: str, *matchers: str, by: str = "") -> str:
    """Return a gauge that each copy measures alike, or the highest of those that differ."""
    return f"max{_by(by)} ({series(metric, *matchers)})"


def rate_alike(metric: str, *matchers: str, by: str = "") -> str:
    """Return the growth per second of a counter that every copy counts alike: a store's own."""
    return f"max{_by(by)} (rate({series(metric, *matchers)}[{INTERVAL}]))"


def each(metric: str, function: str, by: str) -> str:
    """Apply a function over the last interval of each copy, and take the highest."""
    return f"max by ({by}) ({function}({series(metric)}[{INTERVAL}]))"


def summed(expr: str) -> str:
    """All series of an expression together."""
    return f"sum ({expr})"


def age(metric: str) -> str:
    """Seconds since a time that a gauge holds: of whichever copy was last."""
    return f"time() - {alike(metric)}"


def mean(histogram: str) -> str:
    """Return the average of what a histogram observed; nothing where it observed nothing."""
    return share(rate(f"{histogram}_sum"), rate(f"{histogram}_count"))


def share(part: str, whole: str) -> str:
    """Divide a part by a whole; nothing while the whole is 0."""
    return f"({part}) / ({whole} > 0)"


def share_each(parts: str, whole: str) -> str:
    """Each of several parts of one whole."""
    return f"{parts} / on () group_left () ({whole} > 0)"


def percentile(quantile: float, histogram: str, by: str = "") -> str:
    """Return a percentile over all copies together."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, {rate(f'{histogram}_bucket', by=labels)})"


def percentiles(histogram: str) -> list[Query]:
    """Return the median and the slow ends."""
    return [
        Query(percentile(0.5, histogram), "p50", "green"),
        Query(percentile(0.95, histogram), "p95", "yellow"),
        Query(percentile(0.99, histogram), "p99", "orange"),
    ]


def or_zero(expr: str, label: str = "") -> str:
    """0 while there is no series, because it begins with its first event; under the label's value "none"."""
    zero = f'label_replace(vector(0), "{label}", "none", "", "")' if label else "vector(0)"
    # Whatever labels there are on the left, one series is enough.
    return f"{expr} or on () {zero}"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
