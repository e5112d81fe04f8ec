# bash: traps and signals.
# usk-test: status=4 stderr=any
trap 'echo "on exit $?"' EXIT
trap 'echo got USR1' USR1
trap 'echo "error in line"' ERR
kill -USR1 $$
false
(trap 'echo child term; exit 5' TERM; kill -TERM $BASHPID; echo not reached); echo "child ended $?"
sleep 100 & pid=$!
until read -r name <"/proc/$pid/comm" && [ "$name" = sleep ]; do :; done # until then it has this shell's traps
kill -TERM $pid; wait $pid; echo "killed: $?"
bash -c 'kill -KILL $$'; echo "sigkill: $?"
bash -c 'trap "" INT; kill -INT $$; echo survived'
coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"
pid=$COPROC_PID # bash forgets it when it hears of the end
kill $pid 2>/dev/null; wait $pid 2>/dev/null
timeout 0.05 sleep 100; echo "timeout says $?"
exit 4
