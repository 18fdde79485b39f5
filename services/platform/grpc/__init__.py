"""gRPC servers, clients, errors, and mutual TLS."""
