"""What each role may do, operation by operation. Written out, so that nobody changes it without meaning to.

docs/guides/keys.md shows the same table to users.
"""

from collections.abc import Mapping

# The columns of the table.
ROLES = ("admin", "write", "ingest", "read")
ADMIN = frozenset({"admin"})
WRITE = frozenset({"admin", "write"})
INGEST = frozenset({"admin", "write", "ingest"})
READ = frozenset({"admin", "write", "read"})
NO_API_KEY: frozenset[str] = frozenset()

# By REST operation ("" where there is none) and gRPC method.
ALLOWED: Mapping[tuple[str, str], frozenset[str]] = {
    ("POST /api/v1/subscriptions", "SubscriptionService.CreateSubscription"): WRITE,
    ("GET /api/v1/subscriptions", "SubscriptionService.ListSubscriptions"): READ,
    ("GET /api/v1/subscriptions/{subscription_id}", "SubscriptionService.GetSubscription"): READ,
    ("PUT /api/v1/subscriptions/{subscription_id}", "SubscriptionService.UpdateSubscription"): WRITE,
    ("PATCH /api/v1/subscriptions/{subscription_id}", "SubscriptionService.UpdateSubscription"): WRITE,
    ("DELETE /api/v1/subscriptions/{subscription_id}", "SubscriptionService.DeleteSubscription"): WRITE,
    ("POST /api/v1/subscriptions/{subscription_id}/disable", "SubscriptionService.SetSubscriptionStatus"): WRITE,
    ("POST /api/v1/subscriptions/{subscription_id}/enable", "SubscriptionService.SetSubscriptionStatus"): WRITE,
    ("POST /api/v1/subscriptions/{subscription_id}/pause", "SubscriptionService.SetSubscriptionStatus"): WRITE,
    ("POST /api/v1/subscriptions/{subscription_id}/resume", "SubscriptionService.SetSubscriptionStatus"): WRITE,
    (
        "POST /api/v1/subscriptions/{subscription_id}/rotate-secret",
        "SubscriptionService.RotateSubscriptionSecret",
    ): WRITE,
    ("GET /api/v1/subscriptions/{subscription_id}/public-keys", "SubscriptionService.GetSubscription"): READ,
    ("POST /api/v1/subscriptions/{subscription_id}/ingest-token", "SubscriptionService.CreateIngestToken"): WRITE,
    ("DELETE /api/v1/subscriptions/{subscription_id}/ingest-token", "SubscriptionService.DeleteIngestToken"): WRITE,
    ("", "SubscriptionService.CheckIngestToken"): NO_API_KEY,
    ("POST /api/v1/webhooks/ingest/{subscription_id}", "IngestService.BatchIngest"): INGEST,
    ("POST /api/v1/events", "IngestService.BatchIngest"): INGEST,
    ("GET /api/v1/events/{event_id}", "IngestService.GetEvent"): READ,
    ("", "IngestService.Ingest"): INGEST,
    ("GET /api/v1/webhooks/deliveries/{delivery_id}", "DeliveryService.GetDelivery"): READ,
    ("POST /api/v1/webhooks/deliveries/{delivery_id}/retry", "DeliveryService.RetryDelivery"): WRITE,
    ("POST /api/v1/webhooks/deliveries/{delivery_id}/cancel", "DeliveryService.CancelDelivery"): WRITE,
    ("GET /api/v1/subscriptions/{subscription_id}/deliveries", "DeliveryService.ListDeliveries"): READ,
    ("GET /api/v1/events/{event_id}/deliveries", "DeliveryService.ListDeliveries"): READ,
    ("GET /api/v1/subscriptions/{subscription_id}/stats", "AnalyticsService.GetStats"): READ,
    ("GET /api/v1/stats", "AnalyticsService.GetStats"): READ,
    ("POST /api/v1/admin/tenants", "AccessService.CreateTenant"): ADMIN,
    ("GET /api/v1/admin/tenants", "AccessService.ListTenants"): ADMIN,
    ("DELETE /api/v1/admin/tenants/{tenant_id}", "AccessService.DeleteTenant"): ADMIN,
    ("POST /api/v1/admin/api-keys", "AccessService.CreateApiKey"): ADMIN,
    ("GET /api/v1/admin/api-keys", "AccessService.ListApiKeys"): ADMIN,
    ("DELETE /api/v1/admin/api-keys/{key_id}", "AccessService.RevokeApiKey"): ADMIN,
    ("", "AccessService.Authenticate"): NO_API_KEY,
    ("GET /api/v1/admin/audit", "AuditService.ListAuditEntries"): ADMIN,
}
