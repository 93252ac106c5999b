"""The supervisor, the embedded broker, and what a person sees of them."""
