"""Documents -> pages of text. Runs in a process of its own, without secrets: see `backend.adapters.sandbox`.

Whatever is read here came from a stranger. Nothing of the gateway is imported but these modules, nothing is fetched,
and what a file says of itself (name, type, sizes) is not believed.
"""
