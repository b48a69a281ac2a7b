"""farrier-release: makes a release live, or takes it back. It alone writes to the live unit and site folders."""
