"""Pages for people, over the HTTP API only: `python -m dashboard`."""
