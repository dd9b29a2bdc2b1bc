"""Do it fairly, many times: trials, search, budget, ledger, statistics."""
