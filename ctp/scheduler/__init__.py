"""Work by the clock: which jobs there are, when each is due, how its runs went."""
