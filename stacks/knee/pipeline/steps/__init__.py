"""The knee pipeline's programs. Each is run as `python -m steps.<name> WORKDIR [--options JSON] [--config PATH]`."""
