"""Explanations of database errors for users, by error code."""

import sqlite3

RESTORE = "`dailies database restore` puts the newest whole copy of the workspace's backups folder in its place"
# SQLite's result codes by the beginning of their names: https://www.sqlite.org/rescode.html
SQLITE = {
    "SQLITE_BUSY": "it is locked by another process; try again, and look for a program that keeps it open",
    "SQLITE_LOCKED": "it is locked by another process; try again, and look for a program that keeps it open",
    "SQLITE_FULL": "the disk is full; free some space and try again",
    "SQLITE_IOERR": "the disk is full or failing (disk I/O error); free some space or check the disk, and try again",
    "SQLITE_READONLY": "it may not be written; check the permissions of the file and its folder",
    "SQLITE_PERM": "it may not be opened; check the permissions of the file and its folder",
    "SQLITE_CANTOPEN": "it cannot be opened; check that the folder exists and may be written",
    "SQLITE_NOTADB": f"the file is not an SQLite database; move it away, or, if it was one, {RESTORE}",
    "SQLITE_CORRUPT": f"the file is damaged; {RESTORE}",
    "SQLITE_TOOBIG": "a value is too large to be stored",
}
# PostgreSQL's classes of error codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
POSTGRESQL = {
    "08": "the server cannot be reached; check DAILIES_DATABASE_URL and that the server runs",
    "57P": "the server is starting or shutting down; try again",
    "53100": "the server's disk is full; free some space there and try again",
    "53300": "the server takes no more connections; try again",
    "55P03": "it is locked by another process; try again, and look for a program that keeps it open",
    "40": "another process changed the same data; try again",
    "25006": "it may not be written; the server is read-only",
    "28": "the server refuses the user or the password; check DAILIES_DATABASE_URL",
    "3D": "the server has no such database; check DAILIES_DATABASE_URL",
    "42501": "the user lacks permission; ask the server's administrator",
}
UNREACHABLE = POSTGRESQL["08"]


def remedy(error: Exception) -> str:
    """Return a clause with the problem and the remedy; the error's first line for an unknown code."""
    original = getattr(error, "orig", None) or error
    text = str(original).strip()
    code = str(getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None) or "")
    sentences = SQLITE if isinstance(original, sqlite3.Error) else POSTGRESQL
    for beginning, sentence in sentences.items():
        if code.startswith(beginning):
            return sentence
    if not code and type(original).__name__ == "OperationalError" and not isinstance(original, sqlite3.Error):
        return UNREACHABLE  # psycopg gives no code when no server answers
    return text.splitlines()[0].rstrip(".") if text else type(original).__name__
