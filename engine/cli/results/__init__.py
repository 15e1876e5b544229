"""Commands that export and import results of runs."""
