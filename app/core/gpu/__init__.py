"""The host's cards as an application meets them: who holds them, whether a job may start, what readiness says."""
