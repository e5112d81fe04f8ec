"""Python's asyncio: tasks, subprocesses, UNIX sockets, signals, timeouts."""
import asyncio, os, signal

async def talk(path):
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
    server = await asyncio.start_unix_server(serve, path)
    async def client(number):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(f"client {number}\n".encode())
        answer = await reader.readline()
        writer.close()
        return answer
    answers = await asyncio.gather(*[client(i) for i in range(20)])
    server.close()
    return answers

async def main():
    print(await asyncio.gather(*[asyncio.sleep(0.01 * i, i) for i in range(5)]))
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    print(await process.communicate(b"through cat"))
    process = await asyncio.create_subprocess_shell("echo out; exit 3", stdout=-1)
    print((await process.communicate())[0], process.returncode)
    processes = [await asyncio.create_subprocess_exec("sh", "-c", f"exit {i}") for i in range(10)]
    print([await process.wait() for process in processes])
    try:
        await asyncio.wait_for(asyncio.sleep(100), 0.02)
    except asyncio.TimeoutError:
        print("timeout")
    event = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, event.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    print(await event.wait())
    print(await talk("socket"))
    print(await asyncio.to_thread(sum, range(1000)))

asyncio.run(main())
