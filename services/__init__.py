"""The webhook delivery service: a package per service, and what they share."""

import os

# prometheus_client reads it when it is imported, and would then share its metrics with other processes through files.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
