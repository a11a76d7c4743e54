"""Tests of users, sessions, rights, trading accounts and exchange keys."""
