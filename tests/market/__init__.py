"""Market data: what is let in, what is stored, what comes back."""
