"""The webhook delivery service: a package per service, and what they share."""
