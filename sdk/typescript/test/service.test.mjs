// The pull consumer with the real service, in a tenant of its own: what fails comes again, and what is reported does not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, LeaseExpired, verify } from '../dist/index.js';

const [url, tenant] = [process.env.WEBHOOK_URL, process.env.WEBHOOK_TENANT];

test('a consumer pulls what is published', { skip: url === undefined }, async () => {
  const client = new Client({ url, tenant });
  const made = await client.subscriptions.create({
    destination: 'pull',
    event_types: ['ts-pulled.*'],
    retry_policy: { delays_seconds: [1] },
  });
  const waiting = new Map();
  for (let n = 0; n < 20; n++) {
    const event = await client.events.publish({ event_type: 'ts-pulled.once', payload: { n } });
    waiting.set(event.event_id, n);
  }
  let failed;
  const ended = new AbortController();
  for await (const delivery of client.pull(made.id, { maxDeliveries: 5, waitSeconds: 1, signal: ended.signal })) {
    await verify(delivery.payload, delivery.headers, made.secret_key);
    if (failed === undefined) {
      failed = delivery.id;
      await delivery.fail('the database is away');
      await assert.rejects(delivery.extend(120), LeaseExpired);
      continue;
    }
    await delivery.extend(120);
    await delivery.succeed();
    assert.deepEqual(delivery.json(), { n: waiting.get(delivery.delivery.event_id) });
    waiting.delete(delivery.delivery.event_id);
    if (waiting.size === 0) ended.abort();
  }
  const retried = await client.deliveries.get(failed);
  assert.equal(retried.status, 'delivered');
  assert.equal(retried.attempts.length, 2);
  assert.equal(retried.attempts[0].error.message, 'the database is away');
  await client.subscriptions.delete(made.id);
});
