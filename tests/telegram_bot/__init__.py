"""Tests of the Telegram channel and of the commands that come through it."""
