/* A computer that was suspended: the library reads the time through this function. */
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

static atomic_int asleep;

void sleep_the_computer(int seconds)
{
    asleep += seconds;
    /* The coarse clock does not use this function, and advances too. */
    sleep_ms(20);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_BOOTTIME)
        time->tv_sec += asleep;
    return result;
}
