"""`<stack>-admin`: an administrator's look at an application's ledger, and a hand in it."""
