"""Tests that look at the pages in real Chromium."""
