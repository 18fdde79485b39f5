"""The event catalog: types of events, versions of their schemas, and validation when events are accepted."""
