"""Notices to people: the transactional outbox, the messages and the channels."""
