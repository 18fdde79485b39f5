"""What stands in for a network between processes: a name server, and a proxy that delays and cuts."""
