# grep, sed and awk.
seq 1 2000 | sed 's/.*/line & of the file/' > f
grep -c 7 f; grep -n '^line 99 ' f; grep -o '[0-9]*5 ' f | head -3; grep -v line f; echo "nothing: $?"
grep -E '(11|22)1 ' f | wc -l; mkdir d; cp f d/g; grep -rl 'line 1999' . | sort; grep -P '\b(\d)\1\1\b' f
grep x missing; echo "grep says $?"
sed -n '5,7p;$p' f; sed -i 's/file/document/' f; tail -1 f; sed '1!G;h;$!d' <(seq 4); sed -e '/2/{N;s/\n/+/}' <(seq 4)
sed -E 's/([a-z]+) ([0-9]+)/\2 \1/' <<< 'word 42'
awk '{ s += $2 } END { print s, NR, NF }' f
awk -F: 'BEGIN { OFS="-" } { $1 = $1; print }' <<< 'a:b:c'
awk '{ count[$2 % 3]++ } END { for (i = 0; i < 3; i++) print i, count[i] }' f
awk 'BEGIN { while (("echo from a command" | getline line) > 0) print line; printf "%.3f %s\n", sin(1), toupper("x") }'
awk 'BEGIN { "date -u +%Y" | getline y; print (y > 2000); print length("hello"), substr("hello", 2, 3), index("abc", "c") }'
