/*
 * Compares loading the library, without using it, with loading libcurl. scripts/bench-c builds and runs it. Each load is
 * in its own process, because neither library has to leave the process when it is unloaded.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICKETAPI_FUNCTION_TYPES
#include "TicketApi.h"

#define ROUNDS 41
#define LIMIT 3.0

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static void load(const char *name, int is_ours)
{
    void *library = dlopen(name, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        _exit(2);
    }
    if (is_ours) {
        _TcktApi_Initialize *initialize;
        _TcktApi_Finalize *finalize;
        *(void **)&initialize = dlsym(library, "_TcktApi_Initialize");
        *(void **)&finalize = dlsym(library, "_TcktApi_Finalize");
        finalize(initialize());
    }
    dlclose(library);
}

static double time_of(const char *name, int is_ours)
{
    double time = 0;
    int ends[2], status;
    pid_t child;
    if (pipe(ends) != 0 || (child = fork()) < 0)
        exit(2);
    if (child == 0) {
        double began = now();
        load(name, is_ours);
        time = now() - began;
        _exit(write(ends[1], &time, sizeof time) != sizeof time);
    }
    if (waitpid(child, &status, 0) < 0 || status != 0 || read(ends[0], &time, sizeof time) != sizeof time)
        exit(2);
    close(ends[0]);
    close(ends[1]);
    return time;
}

int main(int argc, char **argv)
{
    double ours[ROUNDS], curls[ROUNDS], ratio;
    int i;
    if (argc < 2)
        return 2;
    for (i = 0; i < ROUNDS; i++) {
        ours[i] = time_of(argv[1], 1);
        curls[i] = time_of("libcurl.so.4", 0);
    }
    qsort(ours, ROUNDS, sizeof *ours, by_size);
    qsort(curls, ROUNDS, sizeof *curls, by_size);
    ratio = ours[ROUNDS / 2] / curls[ROUNDS / 2];
    printf("load, Initialize, Finalize, unload %.0f us, libcurl %.0f us\n", ours[ROUNDS / 2], curls[ROUNDS / 2]);
    printf("%-58s %6.2f  (at most %.1f)%s\n", "loading / loading libcurl", ratio, LIMIT, ratio <= LIMIT ? "" : "  FAILED");
    return argc > 2 && strcmp(argv[2], "--check") == 0 && ratio > LIMIT;
}
