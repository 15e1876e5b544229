"""Programs that generate pages and tables of the documentation."""
