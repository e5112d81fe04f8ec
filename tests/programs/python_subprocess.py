"""Python's subprocess module."""
import os, signal, subprocess, sys

run = subprocess.run
print(run(["echo", "hello"], capture_output=True, text=True).stdout)
print(run("echo out; echo err >&2; exit 3", shell=True, capture_output=True))
print(run(["cat"], input=b"x" * 1000000, capture_output=True).stdout.count(b"x"))
print(run(["sleep", "100"], timeout=None) if False else "no sleep")
try:
    run(["sleep", "100"], timeout=0.05)
except subprocess.TimeoutExpired as error:
    print("timeout", error.cmd)
try:
    run(["/missing/program"])
except FileNotFoundError as error:
    print(error)
try:
    run(["false"], check=True)
except subprocess.CalledProcessError as error:
    print(error)
one = subprocess.Popen(["seq", "100"], stdout=subprocess.PIPE)
two = subprocess.Popen(["grep", "7"], stdin=one.stdout, stdout=subprocess.PIPE)
one.stdout.close()
print(two.communicate()[0].split())
print(one.wait())
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
child.send_signal(signal.SIGTERM)
print(child.wait())
children = [subprocess.Popen(["sh", "-c", f"exit {i}"]) for i in range(20)]
print([child.wait() for child in children])
print(run(["env"], env={"ONLY": "this"}, capture_output=True, text=True).stdout)
print(run(["pwd"], cwd="/", capture_output=True, text=True).stdout)
print(run(["sh", "-c", "ps -o pgid= -p $$"], start_new_session=True, capture_output=True).returncode)
read, write = os.pipe()
run(["sh", "-c", f"echo passed >&{write}"], pass_fds=[write])
print(os.read(read, 100))
run(["sh", "-c", "trap '' PIPE; ulimit -c 0; kill -SEGV $$"], stderr=subprocess.DEVNULL)
print(os.waitstatus_to_exitcode(os.system("exit 5")))
print(subprocess.check_output("yes | head -n 3", shell=True))
