"""Where webhooks may be sent to."""
