"""HTTP in, job id out. One file of routes per noun; nothing here parses tables or imports a machine-learning library."""
