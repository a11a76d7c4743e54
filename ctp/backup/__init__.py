"""Backups and their restore."""
