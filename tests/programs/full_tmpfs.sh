# A tmpfs of one megabyte is full after one megabyte, and usable after a removal.
# usk-test: native=no options=--tmpfs,/small:size=1M
head -c 900000 /dev/zero > /small/one && echo "first fits"
head -c 900000 /dev/zero > /small/two 2> error || sed 's/.*: //' error
[ "$(stat -c %s /small/two)" -lt 200000 ] && echo "the second was cut"
rm /small/one && head -c 500000 /dev/zero > /small/three && echo "room again"
mkdir /small/d 2>/dev/null && echo "a directory fits"
