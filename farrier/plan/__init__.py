"""The plan: what the stack files mean on one host, with every name, path and file resolved."""
