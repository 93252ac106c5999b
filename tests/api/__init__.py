"""The HTTP API, in process and as the real server, on a real ledger."""
