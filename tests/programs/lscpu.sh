# Processors, as programs that place their threads look for them.
lscpu | grep -E '^(Architecture|Byte Order|CPU\(s\)|On-line|Model name)' | tr -s ' '
lscpu --parse=CPU,ONLINE | grep -v '^#'
nproc
