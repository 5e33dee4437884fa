# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""join_tuns.py DEVICE NAMESPACE NAMESPACE: makes the TUN device in both network namespaces and carries packets from each
to the other, as a tunnel does. Writes "ready" once they are there; they end with it."""
import ctypes
import fcntl
import os
import select
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
LONGEST = 65536

libc = ctypes.CDLL(None, use_errno=True)


def make(device, namespace):
    with open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), f"enter {namespace}")
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN_NO_PI))
    return end


def carry(source, to):
    try:
        packet = os.read(source, LONGEST)
        os.write(to, packet)
    except (BlockingIOError, OSError):
        pass  # not up yet: lost, as on any wire


def main():
    device, *namespaces = sys.argv[1:]
    here, there = (make(device, namespace) for namespace in namespaces)
    print("ready", flush=True)
    while True:
        for end in select.select([here, there], [], [])[0]:
            carry(end, there if end == here else here)


main()
