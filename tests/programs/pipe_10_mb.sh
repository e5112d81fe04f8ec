# Ten megabytes through pipes of several processes.
head -c 10000000 /dev/zero | tr '\0' 'x' | cat | cat | sha256sum
seq 1500000 | head -c 10000000 | tee copy | md5sum
md5sum < copy
wc -c < copy
dd if=copy bs=1000 2>/dev/null | dd bs=4097 iflag=fullblock 2>/dev/null | cksum
rm copy
