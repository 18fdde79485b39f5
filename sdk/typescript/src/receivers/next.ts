/** Receives deliveries with a route handler of Next.js, or any runtime that has Request and Response. */
import { receiver, type Handler, type ReceiverOptions } from './receiver.js';

export { SeenInMemory, type Received, type ReceiverOptions, type Seen } from './receiver.js';

/**
 * Return a route handler: `export const POST = webhook({ secrets }, async (delivery) => …)` in app/hook/route.ts.
 *
 * The response is 204, or 401 for what is not genuine. If the function throws, Next.js responds with 500, and the service
 * sends the delivery again.
 */
export function webhook(options: ReceiverOptions, handler: Handler) {
  const receive = receiver(options, handler);
  return async (request: Request): Promise<Response> => {
    const { status, text } = await receive(request.headers, new Uint8Array(await request.arrayBuffer()));
    return new Response(text || null, { status });
  };
}
