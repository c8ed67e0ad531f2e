"""What requests cost: the ledger, prices, and quotas of tokens a day."""
