"""S3 clients that people use, each behind the same few verbs, so that every check is written once."""

from clients import names
from clients.driver import CannotDo, Driver, Target
from clients.roster import drivers, folder, rows

__all__ = ["CannotDo", "Driver", "Target", "drivers", "folder", "names", "rows"]
