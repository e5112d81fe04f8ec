# redis and its benchmark: event loops that talk over a local socket, and take interest in writing and lose it.
redis-server --port 0 --unixsocket socket --save '' --appendonly no >/dev/null &
until redis-cli -s socket ping 2>/dev/null | grep -q PONG; do :; done
redis-benchmark -s socket -q -n 4000 -c 8 -t incr,lpush,lpop >/dev/null
redis-benchmark -s socket -q -n 4000 -c 20 -P 5 -t incr >/dev/null
redis-cli -s socket get counter:__rand_int__
redis-cli -s socket llen mylist
redis-cli -s socket shutdown
wait
echo "says $?"
