"""`farrier deploy`, `rollback` and `status`: the same plays, run through ansible-runner for a person."""
