"""Backups that are proven by restoring them: archives, restore, one user's data, moving between databases.

An archive is logical: rows, not pages. So one made on SQLite restores into PostgreSQL and back, and an older one is
migrated like any old database. Nothing in an archive is readable without the backup key, which no archive holds.
"""
