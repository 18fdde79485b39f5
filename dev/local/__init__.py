"""The whole service on one machine: python -m dev.local.

`settings` is what the supervisor reads, `checks` validates the settings of all processes, `lock` allows one stack per
DATA_DIR, `output` prints what the user sees, and `logs` shows and bounds the logs. The plan of the processes and their
supervisor are in dev/harness.
"""
