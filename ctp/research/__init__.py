"""Backtests, sweeps and their figures; the compiled twin of core."""
