# What the dynamic loader finds out about the processor, in the first program and in those after it.
for round in 1 2 3; do
    # All but the word that holds the number of the processor that was asked.
    /lib64/ld-linux-x86-64.so.2 --list-diagnostics | grep '^x86' | grep -v 'features\[0x0\].cpuid\[0x1\]'
    for program in $(seq 20); do
        /bin/true || echo failed
    done
done
