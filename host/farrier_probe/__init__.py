"""Reads what a deploy must know of a host. Sent over standard input at each run, and never installed."""
