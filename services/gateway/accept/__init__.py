"""The routes that take events in."""
