/*
 * What a ticket costs by its length: scripts/bench-c and scripts/bench-agent build and run it. Logs in, and prints the
 * ticket's length, the time of a getTicketNoAuth, and that of a mutex with a copy of the same length, in nanoseconds.
 *
 * tickets CALLS cpu|wall: calls in a round; the thread's own time, or that which passes.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "TicketApi.h"

#define ROUNDS 15
#define LARGEST 8192

static TCK_API_INSTANCE instance;
static clockid_t measured;
static int calls;

static double now(void)
{
    struct timespec time;
    clock_gettime(measured, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static double median(double *times)
{
    qsort(times, ROUNDS, sizeof *times, by_size);
    return times[ROUNDS / 2];
}

static void die(const char *what)
{
    char words[254] = "";
    unsigned code = TcktApi_getLastError(instance);
    TcktApi_getErrorDescription(instance, code, words, sizeof words, NULL);
    fprintf(stderr, "%s: 0x%x %s\n", what, code, words);
    exit(2);
}

static double read_tickets(void)
{
    static char ticket[LARGEST];
    double began = now();
    int i;
    for (i = 0; i < calls; i++) {
        if (TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL) != 0)
            die("getTicketNoAuth");
    }
    return (now() - began) / calls;
}

static double lock_and_copy(size_t length)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static char source[LARGEST], target[LARGEST];
    double began = now();
    int i;
    for (i = 0; i < calls; i++) {
        pthread_mutex_lock(&mutex);
        memcpy(target, source, length);
        /* The copy is made each time. */
        __asm__ volatile("" ::: "memory");
        pthread_mutex_unlock(&mutex);
    }
    return (now() - began) / calls;
}

int main(int argc, char **argv)
{
    static char ticket[LARGEST];
    double reading[ROUNDS], copying[ROUNDS];
    unsigned length = 0;
    int i;
    if (argc < 3)
        return 2;
    calls = atoi(argv[1]);
    measured = strcmp(argv[2], "cpu") == 0 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    instance = TcktApi_Initialize();
    if (TcktApi_getTicket(instance, ticket, sizeof ticket, &length) != 0)
        die("getTicket");
    for (i = 0; i < ROUNDS; i++) {
        reading[i] = read_tickets();
        copying[i] = lock_and_copy(length);
    }
    printf("%u %.1f %.1f\n", length, median(reading), median(copying));
    TcktApi_Finalize(instance);
    return 0;
}
