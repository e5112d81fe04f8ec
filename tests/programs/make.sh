# make: rules, variables, parallel jobs, failures.
cat > Makefile <<'EOF'
.PHONY: all clean fail
objects := $(patsubst %.in,%.out,$(sort $(wildcard *.in)))
all: total
%.out: %.in ; @echo "making $@"; tr a-z A-Z < $< > $@
total: $(objects) ; @cat $^ > $@; echo "made $@"
fail: ; @exit 3
clean: ; rm -f *.out total
EOF
for i in a b c; do echo "content $i" > $i.in; done
make; cat total; make; touch -d '+1 hour' b.in; make 2>/dev/null | grep -v warning
make clean; make -j4 >/dev/null 2>&1; cat total
make fail; echo "make says $?"
make nothing; echo "make says $?"
make -n clean; echo "$(make -s -f - <<< 'x:;@echo from stdin')"
