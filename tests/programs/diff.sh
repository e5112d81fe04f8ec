# diff, cmp and patch-like use.
seq 20 > one; sed '5d;10s/10/ten/;$a 21' one > two
diff one two; echo "diff says $?"
diff -u --label one --label two one two
diff -y -W 30 one two | head -12
cmp one two; echo "cmp says $?"
mkdir a b; cp one a/; cp two b/one; touch a/only; diff -rq a b
diff3 one two one | head -5
