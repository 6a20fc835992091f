# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "store" of the controller wing (private to the collection): the tables of snapshots, and their versions.

One SQLite file: an index, and each snapshot's profile as compressed pprof. ``share`` has the functions of each slice
added up, so that a time line needs no profile.
"""

from __future__ import annotations

import os
import sqlite3

from .._errors import FleetError

#: "pysp", at byte 68 of the file (https://sqlite.org/fileformat.html); ``user_version`` is at byte 60.
APPLICATION = 0x70797370
#: What a file of version N needs to become one of version N + 1.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE round (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, began REAL NOT NULL, ended REAL NOT NULL,
        hosts INTEGER NOT NULL, chosen INTEGER NOT NULL, user TEXT NOT NULL, reason TEXT NOT NULL
    );
    CREATE INDEX round_began ON round (began);
    CREATE TABLE under_way (
        one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, holder TEXT NOT NULL, began REAL NOT NULL
    );
    CREATE TABLE host (
        id INTEGER PRIMARY KEY, round INTEGER NOT NULL REFERENCES round ON DELETE CASCADE, record BLOB NOT NULL
    );
    CREATE INDEX host_round ON host (round);
    CREATE TABLE slice (
        id INTEGER PRIMARY KEY, round INTEGER NOT NULL REFERENCES round ON DELETE CASCADE,
        service TEXT NOT NULL, version TEXT NOT NULL, kind TEXT NOT NULL,
        hosts INTEGER NOT NULL, workers INTEGER NOT NULL, samples INTEGER NOT NULL, seconds REAL NOT NULL,
        UNIQUE (round, service, version, kind)
    );
    CREATE INDEX slice_service ON slice (service, kind, round);
    CREATE TABLE function (id INTEGER PRIMARY KEY, name TEXT NOT NULL, file TEXT NOT NULL, UNIQUE (name, file));
    CREATE TABLE share (
        slice INTEGER NOT NULL REFERENCES slice ON DELETE CASCADE, function INTEGER NOT NULL REFERENCES function,
        own REAL NOT NULL, total REAL NOT NULL, PRIMARY KEY (slice, function)
    ) WITHOUT ROWID;
    CREATE TABLE snapshot (
        id INTEGER PRIMARY KEY, slice INTEGER NOT NULL REFERENCES slice ON DELETE CASCADE,
        host TEXT NOT NULL, groups TEXT NOT NULL, capture TEXT NOT NULL, profile BLOB NOT NULL
    );
    CREATE INDEX snapshot_slice ON snapshot (slice);
    """,
)
VERSION = len(MIGRATIONS)
#: Another writer is waited for so long (seconds).
_PATIENCE = 30.0
_SALVAGE = (
    "nothing was changed; take it from a backup, or move it away and begin anew (sqlite3 OLD .recover may save more)"
)


def connect(path: str, create: bool) -> sqlite3.Connection:
    """The store of that file, of this version; FleetError where it is none, or cannot be had."""
    if not os.path.exists(path) and not create:
        raise FleetError(f"There is no store of snapshots: {path}", "no such file", "take a round first: snapshot.yml")
    _require_whole(path)
    try:
        if create:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error
    try:
        _prepare(database, path)
    except sqlite3.Error as error:
        database.close()
        raise unusable(path, error) from error
    except FleetError:
        database.close()
        raise
    return database


def unusable(path: str, error: Exception) -> FleetError:
    """What SQLite or the system said, with what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        remedy = "make room there; what is in the store stays, and the next round takes over what this one brought"
    elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        remedy = "another program writes to it; try again when that has ended"
    elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        remedy = _SALVAGE
    else:
        remedy = "set pyspy_snapshot_store to a file on the controller that you may write to"
    return FleetError(f"The store of snapshots cannot be used: {path}", str(error), remedy)


def _require_whole(path: str) -> None:
    """SQLite misses pages only where it reads them; the header says how many pages there are (bytes 16, 28)."""
    try:
        with open(path, "rb") as file:
            header = file.read(100)
        size = os.stat(path).st_size
    except FileNotFoundError:
        return
    except OSError as error:
        raise unusable(path, error) from error
    if not header or os.path.exists(path + "-journal"):
        return  # New; or in the middle of a transaction, which SQLite undoes or waits for.
    page = int.from_bytes(header[16:18], "big")
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0") or size < expected:
        what = f"{size} bytes of {expected}" if header.startswith(b"SQLite format 3\0") else "it is no SQLite file"
        raise FleetError(f"The store of snapshots is damaged: {path}", what, _SALVAGE)


def _prepare(database: sqlite3.Connection, path: str) -> None:
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("PRAGMA synchronous = FULL")
    application, version, tables = (
        database.execute(question).fetchone()[0]
        for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
    )
    if tables and application != APPLICATION:
        raise FleetError(f"This is not a store of snapshots: {path}", "another program's file", "name another file")
    if version > VERSION:
        raise FleetError(
            f"The store of snapshots was written by a newer version of this collection: {path}",
            f"its version is {version}, and up to {VERSION} can be read here; nothing was changed",
            "run the newer collection, or name another file (pyspy_snapshot_store)",
        )
    if version < VERSION:
        _migrate(database, tables == 0)


def _migrate(database: sqlite3.Connection, new: bool) -> None:
    if new:
        # Has to be said before the first table: it cannot be changed later without a copy of the file.
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with transaction(database):
        # Somebody else may have done it while we waited.
        version = database.execute("PRAGMA user_version").fetchone()[0]
        for script in MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {VERSION}")


class transaction:
    """All or nothing, and one writer at a time: the lock is taken at once."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        try:
            if kind is None:
                self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
