"""Machine learning as pure functions on arrays: no clock, no files but models', no database."""
