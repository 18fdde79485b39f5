"""A network for tests: a name server, and a proxy that delays data and cuts connections."""
