"""Tests of work by the clock."""
