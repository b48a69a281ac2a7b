"""A small conda channel made of Debian 12's own packages, for machines that cannot reach conda-forge."""
