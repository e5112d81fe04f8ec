# bash: process substitution, both directions.
diff <(seq 5) <(seq 1 2 5)
echo "diff says $?"
paste <(echo a; echo b) <(echo 1; echo 2)
seq 10 | tee >(wc -l > count) > /dev/null
while [ ! -s count ]; do sleep 0.01; done; cat count
comm -12 <(printf '%s\n' a b c) <(printf '%s\n' b c d)
while read -r line; do total=$((total + line)); done < <(seq 100); echo $total
