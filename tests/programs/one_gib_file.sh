# A file of one gibibyte: written, read back, the same hash both times.
# usk-test: limit=300
seq 1 3000000 > pattern
for _ in $(seq 60); do cat pattern; done | head -c 1073741824 > large
stat -c %s large
md5sum < large
cat large | md5sum
dd if=large bs=1M skip=1000 count=24 2>/dev/null | md5sum
