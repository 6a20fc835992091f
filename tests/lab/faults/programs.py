# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "faults" of the lab (private to the collection): the programs. A comment marks each line that is to be named.

``report`` is the lab's own (see the room "managers"): a worker says by it which process it is.
"""

from __future__ import annotations

#: gunicorn's own configuration file, in each folder: workers report when they are ready, whoever imported the program.
GUNICORN = """
from report import report
def post_worker_init(worker):
    report()
"""

#: All reserve; one recounts the stock, and asks a supplier that does not answer while it holds the lock.
LOCKED = """
import multiprocessing, os, socket, threading
LOCK = {"shared": multiprocessing.Lock, "thread": threading.Lock}[os.environ["KIND_OF_LOCK"]]()

def reserve():
    with LOCK:  # the lock is waited for
        return b"reserved"

def recount():
    with LOCK, socket.create_connection(("127.0.0.1", int(os.environ["SILENT_PORT"]))) as supplier:
        return supplier.recv(1)  # the lock is held

def app(environ, start_response):
    body = recount() if environ["PATH_INFO"] == "/recount" else reserve()
    start_response("200 OK", [])
    return [body]
"""

#: The same, but for the kind of lock.
LOCKED_BY_FILE = """
import fcntl, os, socket

def reserve():
    with open("stock.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the lock is waited for
        return b"reserved"

def recount():
    with open("stock.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with socket.create_connection(("127.0.0.1", int(os.environ["SILENT_PORT"]))) as supplier:
            return supplier.recv(1)  # the lock is held

def app(environ, start_response):
    body = recount() if environ["PATH_INFO"] == "/recount" else reserve()
    start_response("200 OK", [])
    return [body]
"""

#: A pool of connections in each worker. A refund asks the bank, which does not answer, before it commits.
PAYMENTS = """
import os, socket
from psycopg_pool import ConnectionPool
POOL = ConnectionPool(os.environ["DATABASE"], min_size=1, open=False)
UPDATE = "UPDATE account SET balance = balance + 1 WHERE id = 1"

def pay():
    with POOL.connection() as connection:
        connection.execute(UPDATE)  # the row is waited for

def refund():
    with POOL.connection() as connection:
        connection.execute(UPDATE)
        with socket.create_connection(("127.0.0.1", int(os.environ["SILENT_PORT"]))) as bank:
            bank.recv(1)  # the row is held

def app(environ, start_response):
    POOL.open()
    refund() if environ["PATH_INFO"] == "/refund" else pay()
    start_response("200 OK", [])
    return [b"paid"]
"""

RATES = """
import os
import requests
from report import report

def fetch_rates():
    return requests.get("http://127.0.0.1:%s/rates" % os.environ["SILENT_PORT"]).content  # no answer comes

def app(environ, start_response):
    body = fetch_rates()
    start_response("200 OK", [])
    return [body]

report()
"""

TRANSFERS = """
import threading
ACCOUNTS, BOTH = {"/debit": threading.Lock(), "/credit": threading.Lock()}, threading.Barrier(2)

def debit():
    with ACCOUNTS["/debit"]:
        BOTH.wait()
        with ACCOUNTS["/credit"]:  # the second lock of a debit
            return b"debited"

def credit():
    with ACCOUNTS["/credit"]:
        BOTH.wait()
        with ACCOUNTS["/debit"]:  # the second lock of a credit
            return b"credited"

def app(environ, start_response):
    body = debit() if environ["PATH_INFO"] == "/debit" else credit()
    start_response("200 OK", [])
    return [body]
"""

#: An expression that tries 2^60 ways, in C code that never lets the GIL go; others only want to go on.
CHECKS = """
import re, socket
ADDRESS = re.compile("(a+)+@")

def is_address(text):
    return bool(ADDRESS.match(text))  # the GIL is held

def app(environ, start_response):
    known = is_address("a" * 60 if environ["PATH_INFO"] == "/slow" else "a@")
    start_response("200 OK", [])
    return [b"%d" % known]
"""

#: On gevent: those that wait in a way that lets others run, and one that stops them all.
GREENLETS = """
import fcntl, os
import gevent.event

def subscribe():
    gevent.event.Event().wait()

def publish():
    with open("news.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the loop stands here

def app(environ, start_response):
    open("asked-%d" % os.getpid(), "a").write(".")
    publish() if environ["PATH_INFO"] == "/publish" else subscribe()
    start_response("200 OK", [])
    return [b"news"]
"""

#: On asyncio, in any of its loops: a coroutine that asks without await.
LOOPS = """
import asyncio, os, socket
from report import report

async def lookup():
    with socket.create_connection(("127.0.0.1", int(os.environ["SILENT_PORT"]))) as directory:
        return directory.recv(1)  # the loop stands here

async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        said = (await receive())["type"]
        if said == "lifespan.startup":
            report()
        await send({"type": said + ".complete"})
        if said == "lifespan.shutdown":
            return
    await (lookup() if scope["path"] == "/lookup" else asyncio.Event().wait())
"""

FILES = {
    "gunicorn.conf.py": GUNICORN,
    "stock.py": LOCKED,
    "shelf.py": LOCKED_BY_FILE,
    "payments.py": PAYMENTS,
    "rates.py": RATES,
    "transfers.py": TRANSFERS,
    "checks.py": CHECKS,
    "greenlets.py": GREENLETS,
    "loops.py": LOOPS,
}


def line(program: str, comment: str) -> int:
    """The number of the only line of a program that has this comment."""
    (found,) = (number for number, text in enumerate(FILES[program].splitlines(), 1) if text.endswith(f"# {comment}"))
    return found
