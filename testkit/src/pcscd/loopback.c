/* vpcd listens on every interface, and has no setting for that. With this library it listens on the loopback
   interface, so that only this computer can use a virtual card and its PIN. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int bind(int descriptor, const struct sockaddr *address, socklen_t size)
{
    int (*next)(int, const struct sockaddr *, socklen_t);
    struct sockaddr_in loopback;
    *(void **)&next = dlsym(RTLD_NEXT, "bind");
    if (address->sa_family == AF_INET && size >= sizeof loopback) {
        memcpy(&loopback, address, sizeof loopback);
        loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address = (const struct sockaddr *)&loopback;
    }
    return next(descriptor, address, size);
}
