"""Quotas of tenants: judged before an event is stored, from what is known in memory."""
