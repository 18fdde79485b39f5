// The TypeScript SDK passes the cases that every SDK passes.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { ApiError, Client, LeaseExpired, VerificationFailed, verify } from '../dist/index.js';
import { receiver } from '../dist/receivers/receiver.js';

const CASES = process.env.CONFORMANCE;
const read = (name) => JSON.parse(readFileSync(`${CASES}/${name}`, 'utf8'));
const SAID = { missing: /is missing/, timestamp: /webhook-timestamp/, signature: /no signature/ };
const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

/** Serve exchanges; return what was sent. */
async function playing(exchanges, use) {
  const received = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    received.push({ method: request.method, path: request.url, headers: request.headers, body: Buffer.concat(chunks) });
    const said = exchanges[received.length - 1]?.response ?? { status: 500, text: 'there is no such request' };
    if (said.cut) return void request.socket.destroy();
    response.writeHead(said.status, { 'Content-Type': 'application/json', Connection: 'close', ...said.headers });
    response.end('body' in said ? JSON.stringify(said.body) : (said.text ?? ''));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  return received;
}

function parts(path) {
  const url = new URL(path, 'http://service');
  return [url.pathname, [...url.searchParams].map(String).sort()];
}

function check(exchanges, received) {
  assert.equal(received.length, exchanges.length);
  exchanges.forEach(({ request: wanted }, place) => {
    const request = received[place];
    assert.equal(request.method, wanted.method);
    assert.deepEqual(parts(request.path), parts(wanted.path));
    const key = request.headers['idempotency-key'];
    if (wanted.body) assert.deepEqual(JSON.parse(request.body.toString()), wanted.body);
    for (const [name, value] of Object.entries(wanted.headers ?? {})) assert.equal(request.headers[name.toLowerCase()], value);
    if ('has_idempotency_key' in wanted) assert.equal(Boolean(key), wanted.has_idempotency_key);
    if (wanted.same_idempotency_key) assert.equal(key, received[place - 1].headers['idempotency-key']);
  });
}

function call(client, scenario) {
  const [resource, method] = scenario.call.split('.').map(camel);
  const { subscription_id: id, ...rest } = scenario.arguments;
  return id === undefined ? client[resource][method](rest) : client[resource][method](id, rest);
}

for (const scenario of read('scenarios.json')) {
  test(scenario.name, async () => {
    const received = await playing(scenario.exchanges, async (url) => {
      const client = new Client({ url, apiKey: 'whk_test' });
      if (scenario.error) {
        const error = await call(client, scenario).then(() => assert.fail('no error'), (thrown) => thrown);
        assert.ok(error instanceof ApiError, String(error));
        for (const [name, value] of Object.entries(scenario.error)) assert.deepEqual(error[camel(name)], value, name);
      } else if (scenario.items) {
        const ids = [];
        for await (const item of call(client, scenario)) ids.push(item.id);
        assert.deepEqual(ids, scenario.items);
      } else {
        const result = await call(client, scenario);
        if (scenario.result === null) assert.equal(result, undefined);
        else for (const [name, value] of Object.entries(scenario.result)) assert.deepEqual(result[name], value);
      }
    });
    check(scenario.exchanges, received);
  });
}

for (const one of read('signatures.json')) {
  test(`verify: ${one.name}`, async () => {
    const verified = verify(Buffer.from(one.body_base64, 'base64'), one.headers, one.secrets, { now: one.now });
    if (one.valid) assert.ok(Object.values(one.headers).includes((await verified).id));
    else await assert.rejects(verified, (error) => error instanceof VerificationFailed && SAID[one.error].test(error.message));
  });
}

for (const asked of read('pulls.json')) {
  test(`pull: ${asked.name}`, async () => {
    const act = async (url) => {
      for await (const delivery of new Client({ url, apiKey: 'whk_test' }).pull(asked.subscription_id)) {
        if (asked.payload_base64) assert.equal(Buffer.from(delivery.payload).toString('base64'), asked.payload_base64);
        const argument = asked.message ?? asked.lease_seconds;
        await (argument === undefined ? delivery[asked.action]() : delivery[asked.action](argument));
        return;
      }
    };
    const received = await playing(asked.exchanges, async (url) => {
      if (asked.error) {
        const error = await act(url).then(() => assert.fail('no error'), (thrown) => thrown);
        assert.ok(error instanceof ApiError, String(error));
        for (const [name, value] of Object.entries(asked.error)) assert.deepEqual(error[camel(name)], value, name);
      } else if (asked.lease_expired) {
        await assert.rejects(act(url), LeaseExpired);
      } else {
        await act(url);
      }
    });
    for (const request of received) {
      const sent = JSON.parse(request.body.toString());
      for (const result of sent.results ?? []) delete result.duration_ms;
      request.body = Buffer.from(JSON.stringify(sent));
    }
    check(asked.exchanges, received);
  });
}

for (const asked of read('receivers.json')) {
  test(`receiver: ${asked.name}`, async () => {
    let [handler, called] = ['', false];
    const receive = receiver({ secrets: asked.secret, toleranceSeconds: 100 * 365 * 86400 }, (delivery) => {
      called = true;
      assert.deepEqual([delivery.eventType, delivery.attempt], ['order.created', 2]);
      if (handler === 'fails') throw new Error('the database is away');
    });
    for (const one of asked.requests) {
      [handler, called] = [one.handler, false];
      const failed = () => ({ status: 500, text: '' }); // as the frameworks respond
      const response = await receive(one.headers, Buffer.from(one.body_base64, 'base64')).catch(failed);
      assert.equal(response.status, one.status);
      assert.equal(called, one.handler !== 'not called');
      if (one.text) assert.equal(response.text, one.text);
    }
  });
}
