"""Users, login and sessions."""
