"""One archive of all state, and back."""
