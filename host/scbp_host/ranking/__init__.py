"""Who wins: pure functions over records."""
