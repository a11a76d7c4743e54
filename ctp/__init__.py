"""Crypto Trader Pro: one strategy in the notebook, the backtest, the live bot and the dashboard."""
