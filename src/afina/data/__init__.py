"""From files to rows, from rows to a split without leaks, from a split to batches of tokens."""
