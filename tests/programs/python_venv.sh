# Creating a virtual environment, with pip, and installing a local wheel into it.
# usk-test: limit=300
set -e
/usr/bin/python3 -m venv env
env/bin/python -c 'import sys; print(sys.prefix != sys.base_prefix)'
mkdir -p wheel/greeting-1.0.dist-info
echo 'def hello(): return "hello from the wheel"' > wheel/greeting.py
cd wheel
printf 'Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n' > greeting-1.0.dist-info/METADATA
printf 'Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n' > greeting-1.0.dist-info/WHEEL
printf 'greeting.py,,\ngreeting-1.0.dist-info/METADATA,,\ngreeting-1.0.dist-info/WHEEL,,\ngreeting-1.0.dist-info/RECORD,,\n' \
    > greeting-1.0.dist-info/RECORD
/usr/bin/python3 -m zipfile -c ../greeting-1.0-py3-none-any.whl greeting.py greeting-1.0.dist-info
cd ..
env/bin/pip install --quiet --no-index --disable-pip-version-check ./greeting-1.0-py3-none-any.whl
env/bin/python -c 'import greeting; print(greeting.hello())'
env/bin/pip list --disable-pip-version-check 2>/dev/null | grep greeting
env/bin/pip uninstall --quiet --yes greeting
env/bin/python -c 'import greeting' 2>/dev/null || echo gone
