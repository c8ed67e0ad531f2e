"""ASGI mechanics without business: bodies in, answers out, clients that leave."""
