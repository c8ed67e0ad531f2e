"""The messages format of Anthropic's API, which Claude Code and its SDKs speak."""
