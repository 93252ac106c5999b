"""Thin tasks, and the one place where the rooms are wired together."""
