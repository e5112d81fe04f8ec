# dash: functions, loops, substitutions, traps and jobs.
exec dash -c '
greet() { local name="$1"; echo "hello $name"; return 3; }
greet world; echo "status $?"
for word in one "two three" four; do printf "[%s]" "$word"; done; echo
i=0; while [ $i -lt 5 ]; do i=$((i + 1)); done; echo $i
case abc in a*) echo starts with a ;; esac
echo "$(echo nested $(echo deeper))"
x=path/to/file.txt; echo "${x##*/} ${x%.*} ${#x}"
set -- a b c; shift; echo "$# $*"
trap "echo trapped" USR1; kill -USR1 $$
(exit 7); echo $?
sleep 0.01 & wait $!; echo "waited $?"
cat <<EOF
here $i
EOF
exec 3>&1; echo to three >&3
unset nothing; echo "${nothing:-default}"
trap "echo leaving" EXIT
false || echo recovered
'
