# An ordinary user inside: identity, files of root, set-user-id is of no help.
# usk-test: native=no options=-u,1000:1000,--tmpfs,/scratch stderr=any
id -u; id -g; id -G | wc -w
cat /etc/shadow 2>/dev/null; echo "shadow: $?"
echo mine > /scratch/f 2>/dev/null && stat -c '%u %g' /scratch/f
chown 0 /scratch/f 2>/dev/null; echo "chown: $?"
grep Uid /proc/self/status
grep CapEff /proc/self/status
touch /etc/new 2>/dev/null; echo "touch: $?"
