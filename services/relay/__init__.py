"""The relay: makes events of the rows in the outbox of an application's database."""
