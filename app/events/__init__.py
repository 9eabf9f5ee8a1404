"""The ledger: the only source of truth, in one total order."""
