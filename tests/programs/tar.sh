# tar with gzip and xz: pack, list, compare, unpack.
mkdir -p src/sub && head -c 300000 /dev/zero | tr '\0' 'z' > src/large && echo small > src/sub/small
ln -s sub/small src/link && ln src/sub/small src/hard && chmod 750 src/sub
touch -d '2010-10-10 10:10:10' src/large
for how in gzip xz; do
    tar --"$how" -cf "a.$how" --sort=name src && tar -tf "a.$how"
    mkdir "out.$how" && tar -xf "a.$how" -C "out.$how" && diff -r src "out.$how/src" && echo equal
    stat -c '%n %a %h %Y' "out.$how"/src/large "out.$how"/src/sub | sed 's/ [0-9]*$//;'
    readlink "out.$how/src/link"
done
gzip -k src/large && gzip -l src/large.gz | tail -1 | awk '{print $2}' && zcat src/large.gz | cmp - src/large && echo same
xz -k src/large && xz -t src/large.xz && echo tested
tar cf - src | tar tf - | wc -l
tar -xf missing.tar; echo "tar says $?"
