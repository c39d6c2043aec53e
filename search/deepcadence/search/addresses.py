"""The address of a database as it may be shown: without its passwords."""

from __future__ import annotations

import re

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from deepcadence.schedules.fields import shortened

_QUOTED = 200  # characters of an address in an error: what is none may be very long
_READ = 2000  # characters of it: the expressions below take the square of the time
_SIGNED = re.compile(r"(://[^:/]*:).*@", re.DOTALL)
_UNFINISHED = re.compile(r"(://[^:/@\[]*:)[^/?]+")  # a password whose host was forgotten looks like a port
_PARAMETER = re.compile(
    r"([^?&;=]*(?:password|passwd|passphrase|pwd|token|secret)[^?&;=]*(?:=|%3D))[^&]*", re.IGNORECASE
)


def shown(address: str) -> str:
    """The address of a database as errors quote it: `masked` and shortened."""
    return shortened(masked(address), _QUOTED)


def masked(address: str) -> str:
    """The address of a database with `***` for its passwords, a very long one cut; a path as it is.

    Passwords are the user's, and the values of parameters with such names. What is no URL is searched for what would
    be one.
    """
    if "://" not in address:
        return address
    address = shortened(address, _READ)
    try:
        text = make_url(address).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        text = _SIGNED.sub(r"\1***@", address)
        if "@" not in text:
            text = _UNFINISHED.sub(r"\1***", text)
    return _PARAMETER.sub(r"\1***", text)
