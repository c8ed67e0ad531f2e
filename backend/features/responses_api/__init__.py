"""OpenAI's Responses route: one request, no stored state."""
