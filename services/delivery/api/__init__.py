"""The gRPC API of deliveries."""
