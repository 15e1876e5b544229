"""Texts of the login, of the server's options, and of refused requests."""

import math

FORM = {
    "title": "Dailies",
    "hint": "Log in to continue.",
    "name": "Name",
    "password": "Password",
    "submit": "Log in",
}
WRONG = "Wrong name or password."
BUSY = "Too many logins at the moment: try again in a few seconds."
NOT_ENDED = (
    "You are logged out here, but the server could not record it, so a copy of this session stays valid: tell the "
    "person who runs the server."
)
OLD_LINK = "This link has expired: request a new one, or log in."
LOG_IN = "Log in first: open the page in a browser."
NOT_YOURS = "Labellers can use the Label page only."
OPEN_TO_ALL = (
    "The page would listen on {host}, where anyone on the network could run jobs and delete clips: "
    "name a users file with --auth FILE (`dailies users add NAME` makes it), or listen on 127.0.0.1."
)
FIRST_USER_NEEDS_FILE = "--first-user adds a user to a new users file: name that file with --auth FILE."
FIRST_USER = (
    "The users file {path} is new. Log in as {name} with the password {password} . It is shown this once: "
    "`dailies users add {name} --role researcher --file {path}` sets another one."
)
PASSWORD = "Password of {name}: "
AGAIN = "Repeat: "
DIFFERENT = "The two passwords differ: nothing was changed."

# ---- Addresses
BAD_PUBLIC_URL = (
    "--public-url is the address that browsers use, such as https://dailies.example.org or http://box:8080, but got "
    "'{url}'."
)
SUB_PATH = (
    "--public-url '{url}' has the path '{path}': Dailies must be served at the root of its host, so give it a host "
    "name or a port of its own."
)
BAD_PROXY = "--proxy is the IP address or the network of the reverse proxy, such as 127.0.0.1, but got '{proxy}'."
PROXY_WITHOUT_URL = (
    "--proxy was given without --public-url: name the address that browsers use, such as https://dailies.example.org."
)
WRONG_PATH = "Dailies does not work below a path of a host: the proxy must give it a host name or a port of its own."
UNKNOWN_HOST = (
    "This server does not accept the host name of this request: use the address that Dailies was started with, or "
    "start it with --public-url."
)
FOREIGN_ORIGIN = (
    "This request came from another site's page and was refused: use the page itself. Behind a proxy, start Dailies "
    "with --public-url and --proxy."
)

# ---- What a request carries
TOO_SLOW = "The request took too long to arrive."
NO_JSON = "The body of this request must be application/json."
BAD_JSON = "The body of this request is not valid JSON."
TOO_DEEP = "The body of this request is nested more than {depth} levels deep."
BAD_REQUEST = "The request does not have the form that this page sends: load the page again."
FAILED = "Internal error: see the server's log for details, then try again."
WRONG_ARGUMENT = "The request does not have the form that '{name}' takes ({what}): load the page again."
NO_ROUTE = "There is nothing at this address."
NOT_UPLOADED = "The request names a file that was not uploaded by its sender: upload the file, then try again."
UPLOAD_GONE = "An uploaded file no longer exists: upload it again."

# ---- Files of the server
NOT_OPENED = (
    "The page may not read '{path}' on the machine that runs Dailies: upload the files, or have Dailies started with "
    "--folder FOLDER for a folder that holds them."
)
NO_FOLDER = "--folder names a folder of this machine, but there is none at '{folder}'."

MANY_STREAMS = "Too many tabs of this page are open: close some of them, then load this one again."

# ---- Uploads
NO_SPACE = "The disk of the machine that runs Dailies is full: free some space, then upload again."
UPLOADS_BUSY = "Too many uploads are under way: try again in a few seconds."
UPLOAD_FAILED = "The upload could not be stored ({why}): try again."


def too_many(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"Too many wrong passwords: try again in {minutes} minute{'' if minutes == 1 else 's'}."


def too_long(limit: int) -> str:
    return f"The request is longer than the {size(limit)} that this address takes."


def size(number: int) -> str:
    """Format a number of bytes."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= scale:
            return f"{number / scale:g} {unit}"
    return f"{number} bytes"


def other_user(known: str, other: str) -> dict[str, str]:
    """Words of the question whether a login link of `other` shall end the session of `known`."""
    return {
        "title": FORM["title"],
        "hint": f"You are logged in as {known}. This link logs in {other}: votes then count as those of {other}.",
        "submit": f"Continue as {other}",
        "stay": f"Stay {known}",
    }
