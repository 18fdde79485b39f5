"""PromQL expressions for boards, over the series of one release.

Counters are summed over all copies. If every copy measures the same value, such as the queue depth, the maximum is
used.
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
    """Round to whole events: Prometheus extrapolates an increase to its interval, so that 1 becomes 1.04."""
    return f"round({expr})"


def total(metric: str, *matchers: str, by: str = "") -> str:
    """Sum a gauge of which each copy has a part."""
    return f"sum{_by(by)} ({series(metric, *matchers)})"


def alike(metric: str, *matchers: str, by: str = "") -> str:
    """Return a gauge that is the same in all copies, or the highest value."""
    return f"max{_by(by)} ({series(metric, *matchers)})"


def rate_alike(metric: str, *matchers: str, by: str = "") -> str:
    """Return the growth per second of a counter that is the same in all copies, such as a store's own."""
    return f"max{_by(by)} (rate({series(metric, *matchers)}[{INTERVAL}]))"


def each(metric: str, function: str, by: str) -> str:
    """Apply a function over the last interval of each copy, and take the highest."""
    return f"max by ({by}) ({function}({series(metric)}[{INTERVAL}]))"


def summed(expr: str) -> str:
    """Sum all series of an expression."""
    return f"sum ({expr})"


def age(metric: str) -> str:
    """Return the seconds since the time in a gauge, for the most recent copy."""
    return f"time() - {alike(metric)}"


def mean(histogram: str) -> str:
    """Return the average of a histogram's observations; nothing if it has none."""
    return share(rate(f"{histogram}_sum"), rate(f"{histogram}_count"))


def share(part: str, whole: str) -> str:
    """Divide a part by a whole; nothing while the whole is 0."""
    return f"({part}) / ({whole} > 0)"


def share_each(parts: str, whole: str) -> str:
    """Divide each of several parts by one whole."""
    return f"{parts} / on () group_left () ({whole} > 0)"


def percentile(quantile: float, histogram: str, by: str = "") -> str:
    """Return a percentile over all copies together."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, {rate(f'{histogram}_bucket', by=labels)})"


def percentiles(histogram: str) -> list[Query]:
    """Return the median and two high percentiles."""
    return [
        Query(percentile(0.5, histogram), "p50", "green"),
        Query(percentile(0.95, histogram), "p95", "yellow"),
        Query(percentile(0.99, histogram), "p99", "orange"),
    ]


def or_zero(expr: str, label: str = "") -> str:
    """Return 0 while there is no series, because a series begins with its first event; labeled "none"."""
    zero = f'label_replace(vector(0), "{label}", "none", "", "")' if label else "vector(0)"
    # One series is enough, whatever labels the left side has.
    return f"{expr} or on () {zero}"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
