// Receive deliveries with Express: WEBHOOK_SECRET=whsec_… PORT=9000 node express.mjs
import express from 'express';
import { webhook } from 'webhook-service-sdk/express';

const app = express();
const secrets = process.env.WEBHOOK_SECRET.split(/\s+/);
app.post('/hook', webhook({ secrets }, (delivery) => {
  console.log('received', delivery.eventType, delivery.json());
}));
app.listen(process.env.PORT ?? 9000);
