-- Of events that are traced: the context (W3C traceparent) that their attempts belong to, however much later they are made.
ALTER TABLE webhook_events ADD COLUMN traceparent text;
