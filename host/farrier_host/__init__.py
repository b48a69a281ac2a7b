"""What Farrier leaves on a host: standard library only, for the host's own Python (3.10 and later)."""
