// Receivers verify each delivery, and handle it once.
import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { webhook as express } from '../dist/receivers/express.js';
import { webhook as next } from '../dist/receivers/next.js';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

function signed(body, type = 'order.created') {
  const [id, now] = [randomUUID(), String(Math.floor(Date.now() / 1000))];
  const key = Buffer.from(SECRET.slice('whsec_'.length), 'base64');
  const signature = createHmac('sha256', key).update(`${id}.${now}.${body}`).digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': now, 'webhook-signature': `v1,${signature}`, 'x-event-type': type };
}

/** As Express calls it: a handler of Node.js, with errors in `next`. */
async function throughExpress(handler, use) {
  const handle = express({ secrets: SECRET }, handler);
  const server = createServer((request, response) => handle(request, response, () => { response.statusCode = 500; response.end(); }));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const url = `http://127.0.0.1:${server.address().port}/hook`;
    await use((body, headers) => fetch(url, { method: 'POST', body, headers }));
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function throughNext(handler, use) {
  const post = next({ secrets: SECRET }, handler);
  await use((body, headers) =>
    post(new Request('http://receiver/hook', { method: 'POST', body, headers })).catch(() => new Response(null, { status: 500 })));
}

for (const [name, through] of Object.entries({ express: throughExpress, next: throughNext })) {
  test(`${name}: a genuine delivery is handled once`, async () => {
    const handled = [];
    await through((delivery) => handled.push(delivery.json()), async (send) => {
      const headers = signed('{"n":1}');
      assert.deepEqual([(await send('{"n":1}', headers)).status, (await send('{"n":1}', headers)).status], [204, 204]);
      assert.equal((await send('{"n":2}', headers)).status, 401);
    });
    assert.deepEqual(handled, [{ n: 1 }]);
  });

  test(`${name}: what could not be handled is handled again`, async () => {
    const failures = [new Error('the database is away')];
    await through(() => { if (failures.length) throw failures.pop(); }, async (send) => {
      const headers = signed('{}');
      assert.deepEqual([(await send('{}', headers)).status, (await send('{}', headers)).status], [500, 204]);
    });
  });

  test(`${name}: a challenge is answered`, async () => {
    const body = '{"type":"url_verification","challenge":"abc"}';
    await through(() => assert.fail(), async (send) => {
      assert.equal(await (await send(body, signed(body, 'url_verification'))).text(), 'abc');
    });
  });
}
