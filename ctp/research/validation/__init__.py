"""Whether a result is luck: walk-forward, statistics that count every trial, stress, and one verdict.

`run.validate` is the door; `outcome` holds what it returns. Everything that depends on chance takes a seed.
"""
