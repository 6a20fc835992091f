import time
import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks_text import terminal, sentences, gil_lines
from ansible_collections.pyspy.fleet.tests.lab.faults.services import service, silent_server
from ansible_collections.pyspy.fleet.tests.lab.faults.diagnosis import diagnose, _look
from ansible_collections.pyspy.fleet.tests.lab.managers import running, redis, FILES
from ansible_collections.pyspy.fleet.tests.lab.host_program import Host
from ansible_collections.pyspy.fleet.tests.lab.selecting import ask

FILES["gunicorn.conf.py"]="from report import report\ndef post_worker_init(worker):\n    report()\n"
C = {
 "gsync": ("gunicorn -w 2 -b unix:socket shop:app", 2),
 "gthread": ("gunicorn -w 1 --threads 4 -b unix:socket shop:app", 1),
 "gevent": ("gunicorn -w 1 -k gevent -b unix:socket shop:app", 1),
 "uwsgi": ("uwsgi --master -p 2 --need-app --lazy-apps --module shop:app --http-socket 127.0.0.1:0", 2),
 "uwsgithreads": ("uwsgi --master -p 1 --threads 2 --enable-threads --need-app --lazy-apps --module shop:app --http-socket 127.0.0.1:0", 1),
 "celery": ("celery -A tasks worker -c 2", 2),
 "celerythreads": ("celery -A tasks worker -P threads -c 2", 1),
 "beat": ("celery -A tasks beat", 1),
 "uvicorn": ("uvicorn --workers 1 --loop asyncio --uds socket asgi:app", 1),
 "uvicorn2": ("uvicorn --workers 2 --loop asyncio --uds socket asgi:app", 2),
 "uvloop": ("uvicorn --loop uvloop --uds socket asgi:app", 1),
 "hypercorn": ("hypercorn --workers 2 --bind unix:socket asgi:app", 2),
 "granian": ("granian --workers 1 --uds socket --interface asgi asgi:app", 1),
 "waitress": ("waitress-serve --unix-socket=socket --threads=3 shop:app", 1),
 "dramatiq": ("dramatiq -p 2 -t 2 actors", 2),
 "supervisord": ("supervisord -n -c supervisord.conf", 3),
}
@pytest.mark.parametrize("name", C)
def test_it(host, tmp_path, name):
    cmd, n = C[name]
    with running(tmp_path, *cmd.split()) as here:
        try:
            workers = here.workers(n)
        except AssertionError as e:
            print((tmp_path/"log").read_text()); raise
        from ansible_collections.pyspy.fleet.tests.lab.host_program import parent_of
        time.sleep(2)
        sel = ask(children_of=here.shell, process_role="any")
        print("\n#######", name, sel.targets)
        rows = diagnose(host, sorted(sel.targets), {}, name)
        print("\n".join(terminal(rows, 110)))
        for r in rows: print(r.states, [(c.name, c.file, c.plumbing) for c in r.stack], {m.process+":"+m.thread for m in r.members}, {m.lines for m in r.members})

def test_rq(host, tmp_path):
    with redis(tmp_path) as address, running(tmp_path, "rq", "worker", "-u", address) as here:
        time.sleep(4)
        sel = ask(children_of=here.shell, process_role="any")
        print("\n####### rq", sel.targets)
        rows = diagnose(host, sorted(sel.targets), {}, "rq")
        print("\n".join(terminal(rows, 110)))
        for r in rows: print(r.states, [(c.name, c.file, c.plumbing) for c in r.stack], {m.process+":"+m.thread for m in r.members})
