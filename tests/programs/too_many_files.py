"""Descriptors run out, and come back."""
import os, resource

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
files = []
try:
    while True:
        files.append(open("/dev/null"))
except OSError as error:
    print(error.strerror, 50 < len(files) < 64)
files.pop().close()
print(open("/dev/null").read())
try:
    os.pipe()
except OSError as error:
    print(error.strerror)
try:
    os.dup2(1, 64)
except OSError as error:
    print(error.strerror)
