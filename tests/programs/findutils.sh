# GNU findutils.
mkdir -p tree/{a,b,c}/{x,y} && for f in tree/*/*; do echo "$f" > "$f/file.txt"; done
ln -s ../a tree/b/link; touch -d '2001-01-01' tree/a/x/file.txt; chmod 000 tree/c/y/file.txt
find tree -type f | sort
find tree -type d -name '[xy]' -printf '%p %d %f\n' | sort
find tree -type l -printf '%p -> %l\n'
find tree -not -newermt 2002-01-01 -type f
find tree -perm 000 -print
find tree -size -2 -type f -exec wc -c {} + | tail -1
find tree -name '*.txt' -print0 | sort -z | xargs -0 -n 2 echo
find tree -maxdepth 1 -mindepth 1 | sort | xargs -I{} basename {}
find -L tree/b -name file.txt | sort
seq 20 | xargs -n 7 -P 1 echo
seq 100 | xargs -P 4 -I{} sh -c 'exit 0'; echo "parallel $?"
echo a b | xargs false; echo "xargs says $?"
find tree -delete; ls tree; find missing; echo "find says $?"
