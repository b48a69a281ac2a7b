"""What every application of Farrier shares: ledger, storage, runner, health, worker and web base. Nothing here knows a stack."""
