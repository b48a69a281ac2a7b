"""The test hosts: real Debian systems with systemd as PID 1, booted in a second on this machine."""
