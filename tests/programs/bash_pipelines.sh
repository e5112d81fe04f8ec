# bash: pipelines, here-documents and here-strings, redirections, arrays.
set -o pipefail
seq 1000 | grep 7 | sort -n | tail -3
false | true; echo "${PIPESTATUS[@]} $?"
cat <<EOF | tr a-z A-Z
here is a document with $((1 + 2))
EOF
cat <<-'EOF'
	tabs go, $dollars stay
	EOF
read -r first rest <<< "one two three"; echo "$first/$rest"
declare -A map=([red]=1 [green]=2); echo "${map[red]} ${map[green]} ${#map[@]}"
list=(a "b c" d); printf '<%s>' "${list[@]}"; echo
{ echo out; echo err >&2; } 2>&1 | sort
echo both &> file; cat file
exec 5<>file; read -ru 5 line; echo "$line"; exec 5>&-
[[ abc123 =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[1]}-${BASH_REMATCH[2]}"
printf '%05.2f %x %q\n' 3.14159 255 'a b'
echo {1..5} {a,b}{1,2}
yes | head -n 3 | nl -ba
mapfile -t lines < <(printf 'x\ny\n'); echo "${#lines[@]}"
time_of() { local start=$SECONDS; "$@"; echo $((SECONDS - start < 5)); }
time_of sleep 0.01
echo "$(< file)"
cd /nonexistent 2>/dev/null || echo "no such directory: $?"
