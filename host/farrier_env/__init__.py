"""Installs conda environments from locks. Runs on the host, in the tools venv that holds py-rattler and uv."""
