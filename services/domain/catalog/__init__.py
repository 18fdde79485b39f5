"""The event catalog: schemas, compiled within bounds, and what becomes of payloads that do not match theirs."""
