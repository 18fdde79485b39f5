"""Metrics of the dispatcher, and of the queue."""

from prometheus_client import Counter, Gauge, Histogram

from services.platform.process.metrics import SECONDS_BUCKETS

QUEUE_DEPTH = Gauge(
    "webhook_queue_depth", "Deliveries that one more worker could send: pending, behind no gate. Counted to 100,000."
)
HELD = Gauge("webhook_held_deliveries", "Waiting deliveries that no worker may send, by what holds them.", ["reason"])
BREAKERS = Gauge("webhook_breakers", "Circuit breakers that are not closed.", ["state"])
SCHEDULED = Gauge("webhook_scheduled_deliveries", "Deliveries that wait for their next attempt. Counted to 100,000.")
IN_FLIGHT = Gauge("webhook_in_flight_deliveries", "Deliveries under a worker's lease. Counted to 100,000.")
OLDEST_WAITING = Gauge("webhook_oldest_waiting_seconds", "How long the longest waiting due delivery has waited.")
TURN_SECONDS = Histogram("webhook_dispatcher_turn_duration_seconds", "Time of a turn.", buckets=SECONDS_BUCKETS)
LAST_TURN = Gauge("webhook_dispatcher_last_turn_timestamp_seconds", "When the last turn ended well.")
DISPATCHED = Counter("webhook_dispatched_deliveries_total", "Due deliveries taken in hand to be rung for.")
LEASES_EXPIRED = Counter("webhook_lease_expiries_total", "Leases that ran out.")
DOORBELLS_SWEPT = Counter("webhook_doorbells_swept_total", "Messages that dead workers left in the stream.")
STREAM_MESSAGES = Gauge("webhook_stream_messages", "Messages in the stream, unread or unacked.")

REDIS_SECONDS = Histogram(
    "webhook_redis_round_trip_seconds", "Time of a small command, asked every 2 s.", buckets=SECONDS_BUCKETS
)
REDIS_MEMORY = Gauge("webhook_redis_memory_bytes", "Memory that Redis uses.")
REDIS_MAX_MEMORY = Gauge("webhook_redis_max_memory_bytes", "maxmemory of Redis; 0 where it has no bound.")
REDIS_CLIENTS = Gauge("webhook_redis_clients", "Connections to Redis, of everybody.")
REDIS_COMMANDS = Counter("webhook_redis_commands_total", "Commands that Redis ran, for everybody.")
REDIS_LOOKUPS = Counter("webhook_redis_lookups_total", "Look-ups of keys in Redis, of everybody.", ["result"])
REDIS_EVICTIONS = Counter("webhook_redis_evicted_keys_total", "Keys that Redis dropped for want of memory.")
