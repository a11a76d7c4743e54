"""What runs in a dashboard's kernel: it draws, and asks the gateway for everything it shows or does.

Invariants:
1. A kernel holds no password, database, exchange key or token; only an opaque handle that ends with the person's session.
2. Every action is authorised again by the gateway: a widget message proves nothing, whoever sent it.
3. Kernels stay light: no pandas, plotly, ccxt, vectorbt or numba.
"""
