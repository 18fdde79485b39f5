"""The whole service on one machine: python -m dev.local.

`__main__` is the entry; `settings` what it reads, `checks` whether the settings of all processes are right, `plan`
which processes run with which ports and environment, `stores` Postgres and Valkey, `migrations` the schema,
`supervisor` the life of the processes, `lock` one stack per DATA_DIR, `output` what the user sees, `activity` what is
shown of the logs.
"""
