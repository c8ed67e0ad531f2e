"""Conversations that are kept without any change to clients, and their owners' way to them."""
