"""Where models' versions are kept: the port, an MLflow adapter and an in-memory one."""
