"""Python's threads: locks, queues, events, conditions, thread pools, timers."""
import concurrent.futures, queue, threading

lock, total = threading.Lock(), 0
def add():
    global total
    for _ in range(10000):
        with lock:
            total += 1
threads = [threading.Thread(target=add) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(total)

work, results = queue.Queue(maxsize=10), []
def worker():
    while (item := work.get()) is not None:
        results.append(item * item)
        work.task_done()
threads = [threading.Thread(target=worker) for _ in range(4)]
[thread.start() for thread in threads]
for i in range(500):
    work.put(i)
work.join()
[work.put(None) for _ in threads]
[thread.join() for thread in threads]
print(sum(results))

with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(sum(pool.map(lambda x: x + 1, range(1000))))

event = threading.Event()
threading.Timer(0.02, event.set).start()
print(event.wait(10), event.wait(0))
barrier = threading.Barrier(5)
threads = [threading.Thread(target=barrier.wait) for _ in range(4)]
[thread.start() for thread in threads]
print(barrier.wait(10) in range(5))
[thread.join() for thread in threads]
semaphore = threading.BoundedSemaphore(2)
with semaphore, semaphore:
    print(semaphore.acquire(timeout=0.01))
local = threading.local()
local.value = 1
seen = []
thread = threading.Thread(target=lambda: seen.append(hasattr(local, "value")))
thread.start()
thread.join()
print(seen, threading.active_count())
