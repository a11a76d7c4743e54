"""Trading: from a closed candle to a decision, an order, a fill and a protected position."""
