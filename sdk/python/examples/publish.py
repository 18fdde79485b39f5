"""Publish an event, and look at what became of it: WEBHOOK_URL=http://127.0.0.1:8080 python publish.py."""

from webhook_service import Client

with Client() as client:
    published = client.events.publish("order.created", {"order": 42}, tags={"order": "42"})
    print("published", published.event_id)
    for delivery in client.events.deliveries(published.event_id):
        print(delivery.id, delivery.explanation)
