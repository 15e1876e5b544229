"""Schema migrations: one file in `versions/` each, applied in order when a workspace is opened.

To change the schema: edit `engine/storage/schema.py`, then add `versions/<next number>_<what>.py` by hand, in the form
of the last one. The tests migrate an empty database and compare it with the tables; a released revision never changes.
"""
