"""API keys and registered public keys: what callers show instead of a password."""
