"""What tenants use of their quotas."""
