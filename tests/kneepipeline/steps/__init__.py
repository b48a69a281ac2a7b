"""Stand-ins for the programs of the whole knee pipeline."""
