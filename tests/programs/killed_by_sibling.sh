# A process that another one kills.
# usk-test: status=137 stderr=any
sleep 100 & victim=$!
(kill -KILL $victim)
wait $victim 2>/dev/null; echo "sibling said $?"
(kill -KILL $$)
echo not reached
