"""A simulated exchange that speaks Binance's dialect to unmodified clients; its fills are its own."""
