"""Tests of the console: of its files, and of its pages in a real browser."""
