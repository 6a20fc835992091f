import time, os
import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks_text import terminal
from ansible_collections.pyspy.fleet.tests.lab.faults.diagnosis import diagnose
from ansible_collections.pyspy.fleet.tests.lab.managers import running, redis, FILES
from ansible_collections.pyspy.fleet.tests.lab.selecting import ask
def show(host, here, name):
        sel = ask(children_of=here.shell, process_role="any")
        print("\n#######", name, sel.targets)
        rows = diagnose(host, sorted(sel.targets), {}, name)
        for r in rows: print(r.states, [(c.name, c.file, l) for c,l in zip(r.stack, r.members[0].lines)][:14], {m.process+":"+m.thread for m in r.members})
FILES["rtasks.py"] = FILES["tasks.py"].replace('"filesystem://"', '"redis+socket://" + __import__("os").getcwd() + "/redis"').replace(''', broker_transport_options={
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}''', "")
def test_celery(host, tmp_path):
    with redis(tmp_path) as address, running(tmp_path, *"celery -A rtasks worker -c 2".split()) as here:
        try: here.workers(2)
        finally: print((tmp_path/"log").read_text()[-1500:])
        time.sleep(4)
        show(host, here, "celeryredis")
def test_celery_nogossip(host, tmp_path):
    with redis(tmp_path) as address, running(tmp_path, *"celery -A rtasks worker -P solo".split()) as here:
        time.sleep(8)
        show(host, here, "celerysolo")
@pytest.mark.parametrize("v", ["20.1.0", "23.0.0"])
@pytest.mark.parametrize("k", ["", "--threads 3"])
def test_old(host, tmp_path, v, k):
    with running(tmp_path, *f"/tmp/g{v}/bin/gunicorn -w 2 {k} -b unix:socket shop:app".split()) as here:
        here.workers(2)
        time.sleep(1)
        show(host, here, "gunicorn" + v + k)
