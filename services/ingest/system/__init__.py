"""The processes and the database of the service, for operators."""
