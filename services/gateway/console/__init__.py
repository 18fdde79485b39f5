"""The console: its files, and what only a browser needs."""
