// Pull deliveries: WEBHOOK_URL=http://127.0.0.1:8080 SUBSCRIPTION=… node pull.mjs
import { Client } from 'webhook-service-sdk';

for await (const delivery of new Client().pull(process.env.SUBSCRIPTION)) {
  try {
    console.log('received', delivery.eventType, delivery.json());
    await delivery.succeed();
  } catch (error) {
    await delivery.fail(String(error));
  }
}
