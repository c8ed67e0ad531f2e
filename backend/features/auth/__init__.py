"""Who is calling, and whether a route is open to them."""
