"""Python's mmap, tempfile, shutil, pathlib, os and select modules."""
import mmap, os, pathlib, select, shutil, stat, tempfile, time

with open("m", "w+b") as file:
    file.write(b"0" * 10000)
    file.flush()
    with mmap.mmap(file.fileno(), 0) as memory:
        memory[5000:5005] = b"hello"
        print(memory.find(b"hello"), len(memory))
        memory.flush()
        memory.resize(20000)
        print(len(memory), os.path.getsize("m"))
    file.seek(5000)
    print(file.read(5))
anonymous = mmap.mmap(-1, 4096)
pid = os.fork()
if pid == 0:
    anonymous.write(b"from the child")
    os._exit(0)
os.waitpid(pid, 0)
print(anonymous[:14])
with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory)
    (path / "a" / "b").mkdir(parents=True)
    (path / "a" / "b" / "f").write_text("text")
    (path / "link").symlink_to("a/b/f")
    print((path / "link").read_text(), sorted(str(p.relative_to(path)) for p in path.rglob("*")))
    shutil.copytree(path / "a", path / "copy")
    shutil.make_archive(str(path / "archive"), "zip", path / "a")
    print(sorted(os.listdir(path)))
print(os.path.exists(directory))
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
    print(os.stat(file.name).st_mode & 0o777)
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 100)
    file.seek(0)
    print(len(file.read()))
os.chmod("m", 0o600)
print(stat.filemode(os.stat("m").st_mode))
os.utime("m", ns=(10**18, 2 * 10**18))
print(os.stat("m").st_mtime_ns)
os.link("m", "n")
os.rename("n", "o")
print(os.stat("o").st_nlink, os.access("o", os.W_OK), sorted(entry.name for entry in os.scandir(".")))
for call in (lambda: os.open("missing", os.O_RDONLY), lambda: os.mkdir("m"), lambda: os.rmdir("m"), lambda: os.listdir("m")):
    try:
        call()
    except OSError as error:
        print(type(error).__name__, error.errno)
read, write = os.pipe()
poller = select.epoll()
poller.register(read, select.EPOLLIN)
print(poller.poll(0))
os.write(write, b"x")
print(len(poller.poll(1)), select.select([read], [], [], 1)[0] == [read])
print(os.sendfile(write, os.open("m", os.O_RDONLY), 0, 100), os.cpu_count() >= 1, os.getcwd() == os.path.realpath("."))
print(time.clock_gettime(time.CLOCK_MONOTONIC) > 0, os.uname().sysname, len(os.urandom(16)))
