"""What the service tells when something happens: developers, operators, the tenant itself, and its own processes."""
