"""The house's law, and what is printed from it."""
