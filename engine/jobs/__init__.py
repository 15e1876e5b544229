"""Background jobs: queued in the database, done by processes that outlive the page.

The package imports no torch; handlers import what they need when they run.
"""
