"""The controller's side of Farrier: stack files and host variables in, one plan out. Touches no host."""
