"""What is asked of very many deliveries: parameters of searches, as REST has them."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from dev.scale import rows
from dev.scale.rows import Made

Parameters: TypeAlias = Mapping[str, Sequence[str]]

# How many values a parameter may have.
MANY = 50


def _named(made: Made, number: int) -> list[str]:
    return [str(name) for name in made.subscriptions[:number]]


def _keys(made: Made, prefix: str, first: int, number: int) -> list[str]:
    """Return the newest names of tenant 'default' that one event in a hundred has, from the first number on."""
    numbers = (each for each in range(made.number, 0, -1) if each % 100 == first and rows.is_of_default(each))
    return [f"{prefix}{each}" for each in itertools.islice(numbers, number)]


def _customers() -> list[str]:
    """Return tags that one event in ten thousand has each."""
    return [f"customer={number}" for number in range(MANY)]


# Searches of deliveries. Those that find nothing have to look at whatever might be it.
DELIVERIES: Mapping[str, Callable[[Made], Parameters]] = {
    "everything": lambda _: {},
    "failed": lambda _: {"status": ["failed"]},
    "cancelled": lambda _: {"status": ["cancelled"]},
    "pending": lambda _: {"status": ["pending"]},
    "scheduled": lambda _: {"status": ["scheduled"]},
    "in flight": lambda _: {"status": ["in_flight"]},
    "delivered": lambda _: {"status": ["delivered"]},
    "failed or cancelled": lambda _: {"status": ["failed", "cancelled"]},
    "failed for a reason": lambda _: {"status": ["failed"], "reason": ["expired"]},
    "failed for a reason that none has": lambda _: {"reason": ["worker_lost"]},
    "a status code": lambda _: {"status_code": ["503"]},
    "a class of status codes and types": lambda _: {"status_code": ["5xx"], "event_type": ["order.*"]},
    "a status code that none got": lambda _: {"status_code": ["418"]},
    "an error": lambda _: {"error_kind": ["timeout"]},
    "an error that none had, all the time": lambda made: {"error_kind": ["tls"], "from": [made.at(0).isoformat()]},
    "held": lambda _: {"held_by": ["paused"]},
    "held by what holds none": lambda _: {"held_by": ["breaker_open"]},
    "many attempts": lambda _: {"min_attempts": ["10"]},
    "delivered after several attempts": lambda _: {"status": ["delivered"], "min_attempts": ["3"]},
    "a frequent type": lambda _: {"event_type": ["order.created"]},
    "a rare type": lambda _: {"event_type": ["rare.type"]},
    "a type that none has": lambda _: {"event_type": ["no.such.type"]},
    "failed ones of a rare type": lambda _: {"status": ["failed"], "event_type": ["rare.*"]},
    "failed ones of a type that none has": lambda _: {"status": ["failed"], "event_type": ["no.such.type"]},
    "unfinished ones of a type that none has": lambda _: {
        "status": ["pending", "scheduled", "in_flight"],
        "event_type": ["no.such.type"],
    },
    "three places and a rare type": lambda _: {
        "status": ["delivered", "failed", "scheduled"],
        "event_type": ["rare.type"],
    },
    "the largest subscription": lambda made: {"subscription_id": _named(made, 1)},
    "the smallest subscription": lambda made: {"subscription_id": [str(made.subscriptions[-1])]},
    "a type that none has of the largest subscription": lambda made: {
        "subscription_id": _named(made, 1),
        "event_type": ["no.such.type"],
    },
    "many subscriptions": lambda made: {"subscription_id": _named(made, MANY)},
    "what many subscriptions failed": lambda made: {
        "subscription_id": _named(made, MANY),
        "status": ["failed", "cancelled"],
    },
    "a type that none has of many subscriptions": lambda made: {
        "subscription_id": _named(made, MANY),
        "event_type": ["no.such.type"],
    },
    "a code that none got of many subscriptions": lambda made: {
        "subscription_id": _named(made, MANY),
        "status_code": ["418"],
    },
    "an outage": lambda made: {
        "subscription_id": [str(made.down)],
        "status": ["failed"],
        "from": [made.at(0.5).isoformat()],
        "to": [made.at(0.5625).isoformat()],
    },
    "the oldest failed": lambda made: {
        "status": ["failed"],
        "order": ["oldest"],
        "from": [made.at(0).isoformat()],
    },
    "the oldest of a type that none has": lambda made: {
        "event_type": ["no.such.type"],
        "order": ["oldest"],
        "from": [made.at(0).isoformat()],
    },
    "a key": lambda made: {"idempotency_key": _keys(made, "key-", 0, 1)},
    "a provider's id": lambda made: {"provider_id": _keys(made, "evt_", 50, 1)},
    "a tag of one event": lambda made: {"tag": _keys(made, "order=", 0, 1)},
    "a tag of many events": lambda _: {"tag": ["customer=7"]},
    "a tag that none has": lambda _: {"tag": ["order=none"]},
    "many tags of one event each": lambda made: {"tag": _keys(made, "order=", 0, MANY)},
    "many tags of many events": lambda _: {"tag": _customers()},
    "failed ones of a tag of many events": lambda made: {
        "tag": ["customer=7"],
        "status": ["failed"],
        "from": [made.at(0).isoformat()],
    },
    "a type that none has of many tags": lambda made: {
        "tag": _customers(),
        "event_type": ["no.such.type"],
        "from": [made.at(0).isoformat()],
    },
    "unfinished ones of many tags": lambda _: {"tag": _customers(), "status": ["pending", "scheduled"]},
    "many keys": lambda made: {"idempotency_key": _keys(made, "key-", 0, MANY)},
    "many keys of failed ones": lambda made: {"idempotency_key": _keys(made, "key-", 0, MANY), "status": ["failed"]},
}
EVENTS: Mapping[str, Callable[[Made], Parameters]] = {
    "all events": lambda _: {},
    "events of a rare type": lambda _: {"event_type": ["rare.type"]},
    "events of a type that none has": lambda _: {"event_type": ["no.such.type"]},
    "events of a tag of one event": lambda made: {"tag": _keys(made, "order=", 0, 1)},
    "events of many tags": lambda _: {"tag": _customers()},
    "events of many keys": lambda made: {"idempotency_key": _keys(made, "key-", 0, MANY)},
}
# Of up to 10,000 deliveries at a time.
SUMMARIES: Mapping[str, Callable[[Made], Parameters]] = {
    "all by status": lambda _: {"group_by": ["status"]},
    "failed by error": lambda _: {"group_by": ["error_kind"], "status": ["failed"]},
    "failed by hour": lambda _: {"group_by": ["hour"], "status": ["failed"]},
    "many subscriptions": lambda made: {"group_by": ["subscription"], "subscription_id": _named(made, MANY)},
    "of many tags by status": lambda _: {"group_by": ["status"], "tag": _customers()},
}
