"""Tests of the gateway, its API and its pages."""
