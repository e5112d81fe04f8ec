# busybox, statically linked: its shell and a handful of its tools.
busybox sh -c '
mkdir d && cd d
for i in 1 2 3; do echo "line $i" > "file$i"; done
ls
cat file* | sort -r | head -n 2
find . -type f | sort
wc -c file1
echo hello | tr a-z A-Z | sed "s/LL/ll/"
seq 1 100 | awk "{ sum += \$1 } END { print sum }"
tar cf all.tar file1 file2 && tar tf all.tar
echo secret | md5sum
gzip -c file1 | gunzip
expr 6 \* 7
test -f file1 && echo there
ps >/dev/null && echo ps works
'
busybox false; echo "false says $?"
