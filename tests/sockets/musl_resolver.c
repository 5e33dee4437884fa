// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// musl_resolver NAME: the addresses that getaddrinfo() finds, one a line, by the resolver of the C library that this
// was built with: tests/e2e/host_connect.sh builds it with musl's.
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char** argv) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo* found = NULL;
    if (argc != 2) return 2;
    const int error = getaddrinfo(argv[1], NULL, &hints, &found);
    if (error != 0) {
        printf("%s\n", gai_strerror(error));
        return 1;
    }
    for (const struct addrinfo* each = found; each != NULL; each = each->ai_next) {
        char host[256];
        if (getnameinfo(each->ai_addr, each->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST) == 0) puts(host);
    }
    freeaddrinfo(found);
    return 0;
}
