# GNU coreutils.
mkdir -p a/b/c && touch a/one a/b/two && cp -r a copy && ls -R copy
mv copy/one copy/uno && ln copy/uno copy/hard && ln -s uno copy/soft && stat -c '%h %s %F %a' copy/uno copy/soft
chmod 640 copy/uno && stat -c %A copy/uno
rm -r copy/b && ls copy
printf 'b 2\na 1\nc 3\n' > data
sort data; sort -k2nr data; cut -d' ' -f2 data; tac data; rev data 2>/dev/null | head -1
uniq -c <(printf 'x\nx\ny\n'); shuf -i 1-10 | sort -n | tr '\n' ' '; echo
head -c 3 data; echo; tail -n 1 data; wc data; nl data; od -c data | head -2
split -l 1 data part. && cat part.*; join <(sort data) <(sort data); fold -w 2 data | head -2
seq 3 | paste -sd+ ; factor 123456789; expr substr hello 2 3; basename /x/y.z .z; dirname /x/y
date -u -d @1000000000 +%FT%T; dd if=/dev/zero of=zero bs=1K count=10 2>/dev/null; stat -c %s zero
truncate -s 5 zero; stat -c %s zero; cksum data; sha1sum data; b2sum data; base64 data; tr -d '\n' < data; echo
touch -d '2001-02-03 04:05:06' data; stat -c %y data; readlink -f a/../data | xargs basename
mktemp -p . name.XXXX | cut -c1-7; test -w data && echo writable; printenv HOME | wc -l; id -u; env -i x=1 env
du -b --apparent-size data | cut -f1; df . > /dev/null && echo df; pathchk valid; realpath --relative-to=a/b a/one
install -m 700 data installed && stat -c %a installed; nproc > /dev/null; timeout 5 true; echo $?
ls missing; echo "status $?"; cat missing; rmdir a; cp data missing/x; ln data data; echo "status $?"
