#!/usr/bin/env python3
"""Shows what a healthy peer feels beside thousands of cheap ones (Linux, root for the priorities).

    benches/attacks.py PROGRAM {calm,fragments,broadcasts} [-n PEERS] [-s SECONDS] [--sndbuf BYTES]
                       [--block FRAMES] [--pause SECONDS] [--rate N] [--senders N] [-- FLAGS OF SERVE]

calm        the healthy peer and 500 idle ones
fragments   PEERS senders of one-byte fragments of messages that never end. With --sndbuf 8192 the server
            drains each of them again and again; with --pause all send --block frames at once, now and then
broadcasts  PEERS receivers of tiny broadcasts, --rate a second from --senders of them

The server has core 0, the clients have core 1. The healthy peer is a process of real-time priority, which
sends one message (a ping, where messages go to others) and waits for its answer, again and again. Ping
lateness is the server's own figure, over the pings of all connections.
"""

import argparse
import base64
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

IDLE = 500
REST = 0.005


def connect(port):
    """Returns a socket that is open, and what has come on it since."""
    sock = socket.create_connection(("127.0.0.1", port), 20)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1024)
    head, _, rest = head.partition(b"\r\n\r\n")
    assert b" 101 " in head.split(b"\r\n")[0], head
    return sock, rest


def masked(first, payload):
    """Returns a client's frame; its mask is zero."""
    return bytes([first, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


def frames(buffer):
    """Takes the whole frames of a server, all of them short, from the front of a buffer."""
    at = 0
    while len(buffer) - at >= 2:
        end = at + 2 + (buffer[at + 1] & 127)
        if len(buffer) < end:
            break
        yield buffer[at], bytes(buffer[at + 2 : end])
        at = end
    del buffer[:at]


def healthy(port, seconds, out, pings):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    sock, rest = connect(port)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(60)
    ask, answer = (0x89, 0x8A) if pings else (0x82, 0x82)
    buffer, times = bytearray(rest), []

    def hear(body):
        """Answers pings; says whether the answer has come."""
        is_answered = False
        for first, payload in frames(buffer):
            if first == 0x89:
                sock.sendall(masked(0x8A, payload))
            is_answered |= (first, payload) == (answer, body)
        return is_answered

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        body = b"h" + struct.pack(">I", len(times))
        began = time.monotonic()
        sock.sendall(masked(ask, body))
        while not hear(body):
            data = sock.recv(65536)
            if not data:
                raise SystemExit("the healthy peer was closed")
            buffer += data
        times.append(time.monotonic() - began)
        until = time.monotonic() + REST
        while (left := until - time.monotonic()) > 0:
            if select.select([sock], [], [], left)[0]:
                buffer += sock.recv(65536)
                hear(None)
    times.sort()
    quantiles = {f"p{share:g}": times[min(len(times) - 1, int(share / 100 * len(times)))] for share in (50, 99, 99.9)}
    json.dump({"count": len(times), "most": times[-1], **quantiles}, out)
    out.flush()


def crowd(port, count, events):
    """Connects so many, and watches them."""
    poll, peers = select.epoll(), {}
    for _ in range(count):
        sock, _ = connect(port)
        peers[sock.fileno()] = sock
    for fd, sock in peers.items():
        sock.setblocking(False)
        poll.register(fd, events)
    return poll, peers


def idle(port, ready):
    """Peers that answer pings and do nothing else."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(9))
    poll, peers = crowd(port, IDLE, select.EPOLLIN)
    os.write(ready, b"x")
    while True:
        for fd, _ in poll.poll():
            receive(poll, peers, fd)


def receive(poll, peers, fd):
    try:
        data = peers[fd].recv(1 << 18)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    if not data:
        poll.unregister(fd)
        return
    # A ping of the server's has four bytes.
    at = data.find(b"\x89\x04")
    if at >= 0 and len(data) >= at + 6:
        try:
            peers[fd].send(masked(0x8A, data[at + 2 : at + 6]))
        except OSError:
            pass


def fragments(port, ready, args):
    poll, peers = crowd(port, args.n, select.EPOLLOUT)
    block, sent = masked(0x00, b"x") * args.block, {}
    for fd, sock in peers.items():
        sent[fd] = 0
        sock.send(masked(0x02, b"x"))
        if args.sndbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, args.sndbuf)
    os.write(ready, b"x")

    def send(fd):
        try:
            count = peers[fd].send(block[sent[fd] :])
        except BlockingIOError:
            return
        except OSError:
            poll.unregister(fd)
            return
        sent[fd] = (sent[fd] + count) % len(block)

    while True:
        for fd in peers if args.pause else [fd for fd, _ in poll.poll()]:
            send(fd)
        if args.pause:
            time.sleep(args.pause)


def broadcasts(port, ready, args):
    poll, peers = crowd(port, args.n, select.EPOLLIN)
    os.write(ready, b"x")
    fds, sent, began = list(peers), 0, time.monotonic()
    while True:
        due = int((time.monotonic() - began) * args.rate)
        while sent < due:
            try:
                peers[fds[sent % args.senders]].send(masked(0x82, b"x"))
            except OSError:
                pass
            sent += 1
        for fd, _ in poll.poll(0.002):
            receive(poll, peers, fd)


def fork(nice, do):
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setaffinity(0, {1})
            os.setpriority(os.PRIO_PROCESS, 0, nice)
            do()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    return pid


def processor(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("attack", choices=["calm", "fragments", "broadcasts"])
    parser.add_argument("-n", type=int, default=3000)
    parser.add_argument("-s", type=float, default=15)
    parser.add_argument("--sndbuf", type=int, default=0)
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--pause", type=float, default=0)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--senders", type=int, default=1)
    # What follows "--" may look like an option of ours.
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args = parser.parse_args(sys.argv[1:end])
    args.flags = sys.argv[end + 1 :]
    return args


def serve(args, mode, port):
    command = ["taskset", "-c", "0", "nice", "-n", "-15", args.program, "serve", "--ws", f"127.0.0.1:{port}"]
    command += ["--mode", mode, "--json", "--interval", "2s", "--timeout", "60s", "--ping-slack", "off"]
    # The healthy peer asks by pings, as fast as they are answered.
    command += ["--pings-per-second", "off", *args.flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for line in server.stdout:
        if b'"listening"' in line:
            break
    lines = []
    threading.Thread(target=lambda: lines.extend(server.stdout), daemon=True).start()
    return server, lines


def main():
    args = parse()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    is_broadcast = args.attack == "broadcasts"
    server, lines = serve(args, "broadcast" if is_broadcast else "echo", port)
    reader, ready = os.pipe()
    kids = [fork(-10, lambda: idle(port, ready))]
    os.read(reader, 1)
    if args.attack != "calm":
        attack = broadcasts if is_broadcast else fragments
        kids.append(fork(-10, lambda: attack(port, ready, args)))
        os.read(reader, 1)
    time.sleep(1)

    result, out = os.pipe()
    watched = [server.pid, *kids]
    before, began = [processor(pid) for pid in watched], time.monotonic()
    kid = fork(-15, lambda: healthy(port, args.s, os.fdopen(out, "w"), is_broadcast))
    os.close(out)
    with os.fdopen(result) as file:
        felt = json.loads(file.read() or "{}")
    span = time.monotonic() - began
    shares = [(processor(pid) - then) / span for pid, then in zip(watched, before)]
    os.waitpid(kid, 0)
    for _ in range(2):
        server.send_signal(signal.SIGINT)
        time.sleep(0.3)
    server.wait()
    for kid in kids:
        os.kill(kid, signal.SIGKILL)
        os.waitpid(kid, 0)

    summary = next((json.loads(line) for line in lines if b'"summary"' in line), {})
    late = [f"{value / 1000:.1f}" for key, value in summary.items() if key.startswith("ping_late")]
    times = {key: f"{value * 1000:.2f}" for key, value in felt.items() if key != "count"}
    print(f"{args.attack}: cores of server and clients {[f'{share:.2f}' for share in shares]}")
    print(f"  healthy peer: {felt.get('count')} answers, ms {times}")
    print(f"  {summary.get('pings_written')} pings, late by ms at p50, p99, p99.9 {late}")
    print(f"  messages in {summary.get('messages_in')}, out {summary.get('messages_out')}, rate pauses {summary.get('rate_pauses')}")


main()
