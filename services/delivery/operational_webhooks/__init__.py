"""Operational events: what the service says of a tenant's subscriptions, delivered like everything else."""
