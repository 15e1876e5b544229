"""HTTP routes in addition to the page: votes, uploads, media and exports."""
