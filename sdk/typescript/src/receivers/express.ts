/** Receives deliveries with Express. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { receiver, type Handler, type ReceiverOptions } from './receiver.js';

export { SeenInMemory, type Received, type ReceiverOptions, type Seen } from './receiver.js';

/**
 * Return a handler of a route: `app.post('/hook', webhook({ secrets }, (delivery) => …))`.
 *
 * Put it before `express.json()`, which discards the exact bytes. The response is 204, or 401 for what is not genuine. If
 * the function throws, the error goes to Express, which responds with 500, and the service sends the delivery again.
 */
export function webhook(options: ReceiverOptions, handler: Handler) {
  const receive = receiver(options, handler);
  return (request: IncomingMessage & { body?: unknown }, response: ServerResponse, next: (error?: unknown) => void) => {
    exact(request)
      .then((body) => receive(request.headers, body))
      .then(({ status, text }) => {
        response.statusCode = status;
        response.setHeader('Content-Type', 'text/plain');
        response.end(text);
      })
      .catch(next);
  };
}

async function exact(request: IncomingMessage & { body?: unknown }): Promise<Uint8Array> {
  if (request.body instanceof Uint8Array) return request.body; // express.raw() was here
  if (request.readableEnded) {
    throw new Error('the body was read before: put this route before express.json(), or use express.raw()');
  }
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
