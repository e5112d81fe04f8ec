mkdir -p /sys/fs/cgroup/unified/sdtest
echo $$ > /sys/fs/cgroup/unified/sdtest/cgroup.procs
exec unshare --pid --mount --cgroup --ipc --uts --fork sh /tmp/sd/boot.sh > /tmp/sd/log 2>&1 </dev/null
