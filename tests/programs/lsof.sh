# How the descriptors of a process were opened.
exec 7</etc/passwd 8>/dev/null 9<>/dev/null
lsof -p $$ | awk '$4 ~ /^(cwd|rtd|txt|[789])/ { print $1, $4 }' | sort
