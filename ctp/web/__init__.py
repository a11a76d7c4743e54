"""The gateway on port 8501: login, API, live push, dashboards behind it."""
