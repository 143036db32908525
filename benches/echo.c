/*
 * A native messaging host that answers every call at once with a text as long as a ticket of the Spine, for
 * scripts/bench-web: what a browser itself takes for a call.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int get(void *into, size_t size)
{
    char *at = into;
    while (size > 0) {
        ssize_t got = read(0, at, size);
        if (got <= 0)
            return 0;
        at += got;
        size -= (size_t)got;
    }
    return 1;
}

static void put(const char *text)
{
    char message[512];
    uint32_t size = (uint32_t)strlen(text);
    memcpy(message, &size, 4);
    memcpy(message + 4, text, size);
    if (write(1, message, 4 + size) != (ssize_t)(4 + size))
        exit(1);
}

int main(void)
{
    char message[512], answer[400];
    uint32_t size;
    while (get(&size, 4) && size < sizeof message && get(message, size)) {
        const char *id;
        message[size] = 0;
        id = strstr(message, "\"id\":");
        if (id)
            snprintf(answer, sizeof answer, "{\"id\":%ld,\"value\":\"%.62s\"}", atol(id + 5),
                     "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF+B1j56GJ4xGut4=@AAJTSQACMDE=#");
        put(id ? answer : "{\"allowed\":true}");
    }
    return 0;
}
