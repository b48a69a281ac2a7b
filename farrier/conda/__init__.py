"""From an env's spec to its lock: the only part of Farrier that asks a conda channel for something."""
