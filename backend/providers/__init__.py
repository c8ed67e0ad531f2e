"""Upstreams: code that speaks to one kind of server each, and the HTTP client they share."""
