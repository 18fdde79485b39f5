"""What most teams build first: FastAPI stores a webhook in Postgres, and Celery on Redis sends it with requests.

It signs, retries, and logs every attempt, as ours does. It has no keys, tenants, limits, or leases, and what is stored
but not handed over when the process ends is not found again. Its settings are those that its docs recommend for tasks
that wait: late acknowledgement, ignored results, more processes than cores.
"""
