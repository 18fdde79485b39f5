"""Pull deliveries: WEBHOOK_URL=http://127.0.0.1:8080 SUBSCRIPTION=… python pull.py."""

import asyncio
import os

from webhook_service import AsyncClient


async def main() -> None:
    async with AsyncClient() as client:
        async for delivery in client.pull(os.environ["SUBSCRIPTION"]):
            async with delivery:
                print("received", delivery.event_type, delivery.json(), flush=True)


asyncio.run(main())
