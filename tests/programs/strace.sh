# strace sees the calls of a program and of those that it starts. usk-test: limit=120
strace -o log /bin/true
grep -c '^execve("/bin/true"' log
tail -n 1 log
strace -f -o log -e trace=execve,exit_group sh -c '/bin/true; /bin/echo a; exec /bin/sh -c "exit 3"'
echo $?
sed -e 's/^[0-9]* *//' -e 's/0x[0-9a-f]*.*vars/ADDRESS/' log | grep -v SIGCHLD
strace -f -c -o log sh -c 'for each in 1 2 3; do /bin/true; done'
awk '$NF == "execve" { print $4, $NF }' log
strace -e inject=getcwd:error=ENOENT -o log sh -c 'echo ends'
strace -f -e trace=none -o log python3 -c '
import threading
threads = [threading.Thread(target=sum, args=(range(1000),)) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("threads end")'
sleep 100 &
sleeper=$!
strace -o log -p $! 2>attached &
while [ "$(awk '/^TracerPid/ { print $2 }' /proc/$sleeper/status)" = 0 ]; do sleep 0.05; done
kill -TERM $!
wait $!
echo $?
kill $sleeper
wait $sleeper
echo $?
