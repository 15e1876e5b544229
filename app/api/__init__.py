"""HTTP routes beside the page: votes, uploads, media and exports."""
