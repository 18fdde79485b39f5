"""What the analytics process exports of others: size and work of Postgres, and the subscriptions that stand out.

`keeping` is the loop, `server` and `top` are what it measures, `store` asks Postgres.
"""
