"""Live and paper trading: candle -> decide -> commit -> send; start-up is recovery."""
