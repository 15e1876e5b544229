"""The words of logging in."""

import math

FORM = {
    "title": "Dailies",
    "hint": "Log in to go on.",
    "name": "Name",
    "password": "Password",
    "submit": "Log in",
}
WRONG = "Name or password is wrong."
OLD_LINK = "This link is no longer good: ask for a new one, or log in."
LOG_IN = "Log in first: open the page in a browser."
NOT_YOURS = "Labellers see the Label page only."
OPEN_TO_ALL = (
    "The page would listen on {host}, where anybody on the network could run jobs and delete clips: "
    "name a users file with --auth FILE (`python -m app users add NAME` makes it), or listen on 127.0.0.1."
)
FIRST_USER_NEEDS_FILE = "--first-user adds a user to a new users file: name that file with --auth FILE."
FIRST_USER = (
    "The users file {path} is new. Log in as {name} with the password {password} . It is shown this once: "
    "`python -m app users add {name} --role researcher --file {path}` sets another one."
)
PASSWORD = "Password of {name}: "
AGAIN = "Once more: "
DIFFERENT = "The two passwords differ: nothing was changed."


def too_many(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"Too many wrong passwords: try again in {minutes} minute{'' if minutes == 1 else 's'}."
