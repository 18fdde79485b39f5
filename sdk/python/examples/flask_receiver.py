"""Receive deliveries with Flask: WEBHOOK_SECRET=whsec_… flask --app flask_receiver run --port 9000."""

import os

from flask import Flask

from webhook_service.receivers import Received, Receiver
from webhook_service.receivers.flask import webhook

app = Flask(__name__)


@webhook(app, "/hook", Receiver(os.environ["WEBHOOK_SECRET"].split()))
def hook(delivery: Received) -> None:
    print("received", delivery.event_type, delivery.json(), flush=True)
