/*
 * Measures the library on Windows and here: scripts/windows/bench builds and runs it for both, by turns.
 *
 * windows LIBRARY logins COUNT: logs in and out, and prints the milliseconds of each login.
 * windows LIBRARY tickets CALLS: logs in, and prints the nanoseconds of a getTicketNoAuth, and of a lock (a critical
 * section, or a mutex) with a copy of the same length: the fastest of 25 rounds by turns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <windows.h>
#define OPEN(name) LoadLibraryA(name)
#define FIND(library, name) (void *)GetProcAddress(library, name)
static CRITICAL_SECTION lock;
#define LOCK() EnterCriticalSection(&lock)
#define UNLOCK() LeaveCriticalSection(&lock)
static double now(void)
{
    LARGE_INTEGER count, second;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&second);
    return (double)count.QuadPart * 1e9 / (double)second.QuadPart;
}
#else
#include <dlfcn.h>
#include <pthread.h>
#include <time.h>
#define OPEN(name) dlopen(name, RTLD_NOW)
#define FIND(library, name) dlsym(library, name)
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#define LOCK() pthread_mutex_lock(&lock)
#define UNLOCK() pthread_mutex_unlock(&lock)
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}
#endif

#include "../tests/windows/prompter.h"

#define ROUNDS 25

static int pin(void *data, const void *request, char *to, unsigned int size)
{
    (void)data, (void)request, (void)size;
    strcpy(to, "1234");
    return 0;
}

typedef int (*Get)(long, char *, unsigned int, unsigned int *);

static void die(const char *what)
{
    fprintf(stderr, "%s failed\n", what);
    exit(2);
}

static char ticket[8192], copy[8192];
static unsigned int length;

static double lowest(double *times)
{
    double least = times[0];
    int i;
    for (i = 1; i < ROUNDS; i++)
        least = times[i] < least ? times[i] : least;
    return least;
}

static void tickets(Get get, long instance, int calls)
{
    double reading[ROUNDS], copying[ROUNDS], began;
    int round, i;

    for (round = 0; round < ROUNDS; round++) {
        began = now();
        for (i = 0; i < calls; i++)
            if (get(instance, ticket, sizeof ticket, NULL) != 0)
                die("getTicketNoAuth");
        reading[round] = (now() - began) / calls;
        began = now();
        for (i = 0; i < calls; i++) {
            LOCK();
            memcpy(copy, ticket, length);
            /* The copy is made each time. */
            __asm__ volatile("" ::: "memory");
            UNLOCK();
        }
        copying[round] = (now() - began) / calls;
    }
    printf("%.2f %.2f\n", lowest(reading), lowest(copying));
}

int main(int argc, char **argv)
{
    static const Prompter prompter = {pin, allow_last_try, first_role, read_message};
    void *library = argc == 4 ? (void *)OPEN(argv[1]) : NULL;
    Get get_ticket, get_no_auth;
    int (*destroy)(long);
    long instance;
    int i, count;

    if (!library)
        die("loading the library");
#ifdef _WIN32
    InitializeCriticalSection(&lock);
#endif
    count = atoi(argv[3]);
    ((int (*)(const Prompter *, void *))FIND(library, "ticketapi_set_prompter"))(&prompter, NULL);
    instance = ((long (*)(void))FIND(library, "TcktApi_Initialize"))();
    get_ticket = (Get)FIND(library, "TcktApi_getTicket");
    get_no_auth = (Get)FIND(library, "TcktApi_getTicketNoAuth");
    destroy = (int (*)(long))FIND(library, "TcktApi_destroyTicket");
    if (strcmp(argv[2], "tickets") == 0) {
        if (get_ticket(instance, ticket, sizeof ticket, &length) != 0)
            die("getTicket");
        tickets(get_no_auth, instance, count);
        return 0;
    }
    for (i = 0; i < count; i++) {
        double began = now();
        if (get_ticket(instance, ticket, sizeof ticket, NULL) != 0)
            die("getTicket");
        printf("%.3f\n", (now() - began) / 1e6);
        destroy(instance);
    }
    return 0;
}
