"""The production shape, in real containers."""
