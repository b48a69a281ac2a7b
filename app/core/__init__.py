"""What all applications share: ledger, storage, runner, health, worker and web base. Nothing here knows a stack."""
