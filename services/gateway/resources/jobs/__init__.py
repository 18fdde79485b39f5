"""Jobs: what is done to many deliveries at once."""
