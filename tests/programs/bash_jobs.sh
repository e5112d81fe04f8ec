# bash: background jobs, wait -n, job control without a terminal.
# usk-test: stderr=any
mkfifo gate
# Each by its number: without one, bash says 127 where all have ended just before it looks.
for i in 1 2 3; do (read -r _ < /dev/null; exit $i) & pids[i]=$!; done
sum=0; for pid in "${pids[@]}"; do wait -n "$pid"; sum=$((sum + $?)); done; echo "sum $sum"
wait -n; echo "nothing left: $?"
(cat gate > received) & echo "through a fifo" > gate; wait; cat received
# By their places from the end: a job that is over before it is waited for keeps its number for a while.
sleep 100 & sleep 100 & jobs -r | wc -l
kill %+ %-; wait 2>/dev/null
for i in $(seq 50); do (exit $((i % 2))) & pids[i]=$!; done
ones=0; for pid in "${pids[@]}"; do wait "$pid" || ones=$((ones + 1)); done; echo "ones $ones"
set -m
sleep 100 & pid=$!
kill -STOP $pid; while [[ $(ps -o stat= -p $pid) != T* ]]; do :; done; echo stopped
kill -CONT $pid; kill $pid
# The shell may tell of the stop first.
status=147; while [ $status -eq 147 ]; do wait $pid 2>/dev/null; status=$?; done; echo "ended $status"
disown -a; nohup true >/dev/null 2>&1; echo "nohup $?"
