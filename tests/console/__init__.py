"""Tests of the console: of its files."""
