// Publish an event, and look at what became of it: WEBHOOK_URL=http://127.0.0.1:8080 node publish.mjs
import { Client } from 'webhook-service-sdk';

const client = new Client();
const published = await client.events.publish({ event_type: 'order.created', payload: { order: 42 } });
console.log('published', published.event_id);
for await (const delivery of client.events.deliveries(published.event_id)) {
  console.log(delivery.id, delivery.explanation);
}
