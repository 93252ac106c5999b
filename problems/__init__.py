"""Problems: what a model learns from what, declared in TOML, Python or JSON."""
