"""The whole stack on one machine: starts it in order, watches over it, stops it with nothing left behind."""
