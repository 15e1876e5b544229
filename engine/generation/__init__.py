"""From a request to a clip."""
