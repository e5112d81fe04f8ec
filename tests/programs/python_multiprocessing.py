"""Python's multiprocessing with fork and with spawn: pools, queues, pipes, shared memory, locks, managers."""
# usk-test: limit=120
import multiprocessing, os, sys
from multiprocessing import shared_memory

def square(x):
    return x * x

def feed(queue, count):
    for i in range(count):
        queue.put(i)
    queue.put(None)

def add(value, count):
    for _ in range(count):
        with value.get_lock():
            value.value += 1

def fill(name):
    memory = shared_memory.SharedMemory(name)
    memory.buf[:5] = b"hello"
    memory.close()

def answer(connection):
    connection.send({"got": connection.recv()})

def main():
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            print(method, pool.map(square, range(20)))
            print(sum(pool.imap_unordered(square, range(100), chunksize=7)))
        queue = context.Queue()
        process = context.Process(target=feed, args=(queue, 100))
        process.start()
        print(sum(iter(queue.get, None)))
        process.join()
        print(process.exitcode)
        value = context.Value("i", 0)
        processes = [context.Process(target=add, args=(value, 200)) for _ in range(3)]
        [process.start() for process in processes]
        [process.join() for process in processes]
        print(value.value)
        here, there = context.Pipe()
        process = context.Process(target=answer, args=(there,))
        process.start()
        here.send([1, 2, 3])
        print(here.recv())
        process.join()
        memory = shared_memory.SharedMemory(create=True, size=100)
        process = context.Process(target=fill, args=(memory.name,))
        process.start()
        process.join()
        print(bytes(memory.buf[:5]))
        memory.close()
        memory.unlink()
        with context.Manager() as manager:
            shared = manager.dict()
            process = context.Process(target=shared.update, args=({"key": 1},))
            process.start()
            process.join()
            print(dict(shared))

if __name__ == "__main__":
    main()
