"""The dispatcher: finds what is due in Postgres and rings for it."""
