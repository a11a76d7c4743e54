"""Tests of notices: what is told, in which words, and how it is delivered."""
