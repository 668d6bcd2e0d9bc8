"""Load a page 25 times a second, each time on a new connection; print the milliseconds of each.

python page_client.py PORT PATH SECONDS
"""

import socket
import sys
import time

EVERY_S = 0.04


def load(port: int, request: bytes) -> float:
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        answer = connection.recv(65_536)
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65_536)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head[:16], head
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        got = len(body)
        while got < length:
            got += len(connection.recv(65_536))
    return (time.perf_counter() - started) * 1_000


def main() -> None:
    port, path, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept-Encoding: gzip, br\r\n\r\n"
    started = time.perf_counter()
    for i in range(int(seconds / EVERY_S)):
        time.sleep(max(0.0, started + i * EVERY_S - time.perf_counter()))
        print(f"{load(port, request.encode()):.3f}")


if __name__ == "__main__":
    main()
