"""The chat-completions format of OpenAI and the many servers that speak it, each with its own habits."""
