"""A second application over app.core, as small as one can be."""
