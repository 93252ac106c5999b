"""Telling people: what a message is (`message`), how it is sent (`port`), and the adapters that send it."""
