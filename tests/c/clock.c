/* A computer that was asleep for a while: the library asks the time by way of this function. */
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

static atomic_int asleep;

void sleep_the_computer(int seconds)
{
    asleep += seconds;
    /* The coarse clock, which does not come by here, goes on as well. */
    sleep_ms(20);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_BOOTTIME)
        time->tv_sec += asleep;
    return result;
}
