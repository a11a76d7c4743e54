"""A simulated exchange that speaks Binance's dialect to unmodified clients; its fills are its own.

Where things are:
- run, settings, exchange, control: start it, move it, break it, ask it for the truth
- server, keys, limits, faults, streams, certificates, loopback: the wire
- public_rest, futures_rest, spot_rest, requests, windows, *_views, quotes, charts, listing, wire: the dialect
- engine, instrument, fills, futures, futures_candle, futures_account, spot, spot_account, orders, market: the matching
- feed, generated, rules: the prices and the rules of the markets
- snapshot: the state on disk
"""
