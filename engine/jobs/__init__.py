"""Jobs: requests to do something in the background, in the database and in processes that outlive the page.

Imports no torch; handlers import what they need when they run.
"""
