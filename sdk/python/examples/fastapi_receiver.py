"""Receive deliveries with FastAPI: WEBHOOK_SECRET=whsec_… uvicorn fastapi_receiver:app --port 9000."""

import os

from fastapi import FastAPI

from webhook_service.receivers import Received, Receiver
from webhook_service.receivers.fastapi import webhook

app = FastAPI()


@webhook(app, "/hook", Receiver(os.environ["WEBHOOK_SECRET"].split()))
async def hook(delivery: Received) -> None:
    print("received", delivery.event_type, delivery.json(), flush=True)
