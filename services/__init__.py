"""The three programs: wiring only."""
