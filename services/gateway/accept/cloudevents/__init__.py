"""CloudEvents, as they come in over HTTP."""
