"""Python's sqlite3 on disk: transactions, several connections, write-ahead log, locks between processes."""
import os, sqlite3

database = sqlite3.connect("d.db")
database.execute("create table t (id integer primary key, name text, value real)")
with database:
    database.executemany("insert into t (name, value) values (?, ?)", [(f"n{i}", i / 7) for i in range(5000)])
print(database.execute("select count(*), round(sum(value), 3), max(name) from t").fetchone())
try:
    with database:
        database.execute("delete from t")
        raise RuntimeError("roll back")
except RuntimeError:
    print(database.execute("select count(*) from t").fetchone())
other = sqlite3.connect("d.db", timeout=0.05)
database.execute("begin immediate")
try:
    other.execute("begin immediate")
except sqlite3.OperationalError as error:
    print(error)
database.rollback()
print(database.execute("pragma journal_mode=wal").fetchone())
pids = []
for i in range(4):
    pid = os.fork()
    if pid == 0:
        own = sqlite3.connect("d.db", timeout=30)
        for _ in range(20):
            with own:
                own.execute("update t set value = value + 1 where id = 1")
        own.close()
        os._exit(0)
    pids.append(pid)
print([os.waitpid(pid, 0)[1] for pid in pids])
print(database.execute("select value from t where id = 1").fetchone())
database.execute("create index i on t (name)")
print(database.execute("select id from t where name = 'n4711'").fetchone())
print(database.execute("pragma integrity_check").fetchone())
database.execute("vacuum")
database.close()
print(sorted(os.listdir(".")))
