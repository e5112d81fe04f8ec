# python3: http.server and urllib over the loopback of the sandbox, both address families; many clients at once; UDP.
import concurrent.futures, http.client, http.server, os, socket, subprocess, sys, threading, urllib.error, urllib.request

BODY = bytes(range(256)) * 4096


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/missing":
            return self.send_error(404)
        body = BODY if self.path == "/large" else self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.end_headers()
        self.wfile.write(body[::-1])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


class Dual(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


server = Dual(("::", 0), Handler)
port = server.server_address[1]
threading.Thread(target=server.serve_forever, daemon=True).start()
for host in ["127.0.0.1", "[::1]", "127.3.2.1"]:
    with urllib.request.urlopen(f"http://{host}:{port}/hello") as answer:
        print(host, answer.status, answer.read())
with urllib.request.urlopen(f"http://127.0.0.1:{port}/large") as answer:
    print(answer.read() == BODY)
print(urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=BODY).read() == BODY[::-1])
try:
    urllib.request.urlopen(f"http://127.0.0.1:{port}/missing")
except urllib.error.HTTPError as error:
    print(error.code)
connection = http.client.HTTPConnection("127.0.0.1", port)
for i in range(100):
    connection.request("GET", f"/{i}")
    assert connection.getresponse().read() == f"/{i}".encode()


def fetch(i):
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/{i}").read()


with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(sum(map(len, pool.map(fetch, range(400)))))
server.shutdown()
server.server_close()
try:
    urllib.request.urlopen(f"http://127.0.0.1:{port}/")
except urllib.error.URLError as error:
    print(error.reason)

# A server in another process, as `python3 -m http.server` is started.
with open("file", "w") as file:
    file.write("from a file\n")
server = subprocess.Popen([sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
port = int(server.stdout.readline().split(" port ")[1].split()[0])
print(urllib.request.urlopen(f"http://127.0.0.1:{port}/file").read())
server.terminate()
print(server.wait())

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
    one.bind(("localhost", 0))
    two.sendto(b"datagram", one.getsockname())
    data, source = one.recvfrom(100)
    print(data, source[0], source[1] == two.getsockname()[1])
