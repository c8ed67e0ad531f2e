"""Users, their roles, their sessions, and how they log in."""
