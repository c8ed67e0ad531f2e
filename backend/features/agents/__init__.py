"""Agents: models of our own, made of a base model, a system prompt and parameters."""
