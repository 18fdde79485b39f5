"""Where deliveries are sent: a protocol, a registry, and a folder for each type."""
