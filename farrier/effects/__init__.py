"""What a deploy will do to a host, said before it is done: pure functions of the plan and the host's state."""
