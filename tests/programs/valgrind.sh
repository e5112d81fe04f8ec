# A program that reads the code of others and translates it, after others have run that code.
for program in $(seq 20); do
    /bin/true || echo failed
done
valgrind --quiet --vgdb=no /bin/echo translated
valgrind --quiet --vgdb=no --trace-children=yes /bin/sh -c 'ls /proc/self/status; exit 3'
echo $?
