"""Tests of services/domain/templates."""
