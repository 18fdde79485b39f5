// Receive deliveries with Next.js: this is app/hook/route.ts.
import { webhook } from 'webhook-service-sdk/next';

export const POST = webhook({ secrets: process.env.WEBHOOK_SECRET!.split(/\s+/) }, async (delivery) => {
  console.log('received', delivery.eventType, delivery.json());
});
