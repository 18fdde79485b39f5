"""Receive deliveries with Django. In your project, the view belongs into views.py, and the path into urls.py.

WEBHOOK_SECRET=whsec_… django-admin runserver --pythonpath . --settings django_receiver 9000
"""

import os

from django.core.cache import cache
from django.urls import path

from webhook_service.receivers import Received, Receiver
from webhook_service.receivers.django import SeenInCache, webhook

ALLOWED_HOSTS = ["127.0.0.1"]
SECRET_KEY = os.environ.get("SECRET_KEY", "only for this example")
ROOT_URLCONF = __name__


@webhook(Receiver(os.environ["WEBHOOK_SECRET"].split(), seen=SeenInCache(cache)))
def hook(delivery: Received) -> None:
    print("received", delivery.event_type, delivery.json(), flush=True)


urlpatterns = [path("hook", hook)]
