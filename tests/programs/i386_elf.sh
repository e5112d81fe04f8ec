# A 32-bit program is no program here.
# usk-test: native=no
printf '\177ELF\001\001\001\0\0\0\0\0\0\0\0\0\002\0\003\0\001\0\0\0' > program
head -c 200 /dev/zero >> program; chmod +x program
python3 -c '
import os
try:
    os.execv("./program", ["program"])
except OSError as error:
    print(error.strerror)
'
