# A C project of several files: compiled in parallel by make, archived, linked, run, changed and rebuilt.
# usk-test: limit=120
set -e
mkdir src && cd src
cat > sum.c <<'EOF'
#include "lib.h"
int sum(const int *values, int count) { int total = 0; for (int i = 0; i < count; i++) total += values[i]; return total; }
EOF
cat > text.c <<'EOF'
#include "lib.h"
const char *greeting(void) { return VERSION; }
EOF
cat > lib.h <<'EOF'
#define VERSION "version one"
int sum(const int *values, int count);
const char *greeting(void);
EOF
cat > main.c <<'EOF'
#include <math.h>
#include <stdio.h>
#include "lib.h"
int main(int argc, char **argv) {
    int values[] = {1, 2, 3, 4};
    printf("%s: %d, %.4f, %d arguments\n", greeting(), sum(values, 4), sqrt(2), argc - 1);
    return 0;
}
EOF
cat > Makefile <<'EOF'
CFLAGS = -O2 -Wall -MMD -g
program: main.o libparts.a ; $(CC) -o $@ main.o -L. -lparts -lm
libparts.a: sum.o text.o ; ar rcs $@ $^
shared.so: sum.c text.c ; $(CC) -shared -fPIC -o $@ $^
-include *.d
EOF
make -s -j4 && ./program a b
sed -i 's/one/two/' lib.h && make -s && ./program
make -s shared.so && gcc -o dynamic main.c ./shared.so -lm && ./dynamic x
nm program | grep -c ' T sum'; size program > /dev/null; strip program && ./program
echo 'int main(void) { return undeclared; }' > bad.c
gcc -c bad.c 2> errors || grep -c error: errors
