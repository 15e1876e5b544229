"""Programs for developers of Dailies. The product does not import them."""
