"""Forms of the page, and the requests that they make."""
