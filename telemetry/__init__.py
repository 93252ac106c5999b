"""How the program is watched: its log (`logs`) and its Prometheus metrics (`metrics`)."""
