"""Strategies, one file each, found through the registry."""
