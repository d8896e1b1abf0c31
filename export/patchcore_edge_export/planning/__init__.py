"""Which fast search a bank needs."""
