"""The words of logging in, and of requests that are refused before they reach the page."""

import math

FORM = {
    "title": "Dailies",
    "hint": "Log in to go on.",
    "name": "Name",
    "password": "Password",
    "submit": "Log in",
}
WRONG = "Name or password is wrong."
BUSY = "Too many people log in at this moment: try again in a few seconds."
OLD_LINK = "This link is no longer good: ask for a new one, or log in."
LOG_IN = "Log in first: open the page in a browser."
NOT_YOURS = "Labellers see the Label page only."
OPEN_TO_ALL = (
    "The page would listen on {host}, where anybody on the network could run jobs and delete clips: "
    "name a users file with --auth FILE (`dailies users add NAME` makes it), or listen on 127.0.0.1."
)
FIRST_USER_NEEDS_FILE = "--first-user adds a user to a new users file: name that file with --auth FILE."
FIRST_USER = (
    "The users file {path} is new. Log in as {name} with the password {password} . It is shown this once: "
    "`dailies users add {name} --role researcher --file {path}` sets another one."
)
PASSWORD = "Password of {name}: "
AGAIN = "Once more: "
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
WRONG_PATH = (
    "Dailies is served below a path of this host, where it does not work: the proxy must give it a host name or a "
    "port of its own."
)
UNKNOWN_HOST = (
    "This page does not answer to the host name of this request: open it by the address that it was started with, or "
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
FAILED = "Something went wrong on the server, whose log says more: try again."
WRONG_ARGUMENT = "The request does not have the form that '{name}' takes ({what}): load the page again."
NO_ROUTE = "There is nothing at this address."
NOT_UPLOADED = "The request names a file that was not uploaded by its sender: upload the file, then try again."
UPLOAD_GONE = "An uploaded file is no longer there: upload it again."

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
    """Bytes as people say them."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= scale:
            return f"{number / scale:g} {unit}"
    return f"{number} bytes"
