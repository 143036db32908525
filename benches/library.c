/*
 * Measures the C library, as ratios within one run. scripts/bench-c builds and runs it. With --check it fails if a
 * ratio exceeds its limit.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "TicketApi.h"

#define ROUNDS 15
#define CALLS 200000

static TCK_API_INSTANCE instance;
static int failed;

/* The thread's own CPU time, which depends less on other load. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
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

static void report(const char *what, double ratio, double limit, int at_least)
{
    int good = at_least ? ratio >= limit : ratio <= limit;
    printf("%-58s %6.2f  (at %s %.1f)%s\n", what, ratio, at_least ? "least" : "most", limit, good ? "" : "  FAILED");
    failed += !good;
}

static void die(const char *what)
{
    fprintf(stderr, "%s: 0x%x\n", what, TcktApi_getLastError(instance));
    exit(2);
}

static double read_tickets(void)
{
    char ticket[1024];
    double began = now();
    int i;
    for (i = 0; i < CALLS; i++) {
        if (TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL) != 0)
            die("getTicketNoAuth");
    }
    return (now() - began) / CALLS;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char source[64], target[64];

static double lock_and_copy(void)
{
    double began = now();
    int i;
    for (i = 0; i < CALLS; i++) {
        pthread_mutex_lock(&mutex);
        memcpy(target, source, sizeof target);
        /* The copy is made each time. */
        __asm__ volatile("" ::: "memory");
        pthread_mutex_unlock(&mutex);
    }
    return (now() - began) / CALLS;
}

static pthread_barrier_t start;

static void *read_on_a_thread(void *time)
{
    pthread_barrier_wait(&start);
    *(double *)time = read_tickets();
    return NULL;
}

/* The nanoseconds of a call while another thread makes calls too. */
static double read_from_two(void)
{
    pthread_t other;
    double mine, others;
    pthread_barrier_init(&start, NULL, 2);
    pthread_create(&other, NULL, read_on_a_thread, &others);
    read_on_a_thread(&mine);
    pthread_join(other, NULL);
    pthread_barrier_destroy(&start);
    return mine > others ? mine : others;
}

static void calls(void)
{
    double reading[ROUNDS], copying[ROUNDS], both[ROUNDS];
    char ticket[1024];
    int i;
    instance = TcktApi_Initialize();
    if (TcktApi_getTicket(instance, ticket, sizeof ticket, NULL) != 0)
        die("getTicket");
    for (i = 0; i < ROUNDS; i++) {
        reading[i] = read_tickets();
        copying[i] = lock_and_copy();
        both[i] = read_from_two();
    }
    printf("getTicketNoAuth %.1f ns, mutex and copy %.1f ns, from two threads at once %.1f ns\n", median(reading),
           median(copying), median(both));
    report("getTicketNoAuth / mutex, copy of 64 bytes", median(reading) / median(copying), 3, 0);
    report("getTicketNoAuth, throughput of two threads / of one", 2 * median(reading) / median(both), 1.5, 1);
    TcktApi_destroyTicket(instance);
    TcktApi_Finalize(instance);
}

int main(int argc, char **argv)
{
    calls();
    return argc > 1 && strcmp(argv[1], "--check") == 0 && failed;
}
