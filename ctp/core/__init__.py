"""The trading definition, pure: numbers in, numbers out; no I/O, clock, chance or tables."""
