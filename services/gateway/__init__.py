"""The gateway: REST for clients, gRPC to the services behind it, and no state of its own."""
