/* Requests the ticket until there is none, and prints when that was. */
#include <stdio.h>
#include <time.h>

#include <TicketApi.h>

int main(void)
{
    const struct timespec pause = {0, 1000000};
    struct timespec now;
    char ticket[1024];
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    if (TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL) != TCK_API_SUCCESS)
        return 1;
    puts("ticket");
    fflush(stdout);
    while (TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL) == TCK_API_SUCCESS)
        nanosleep(&pause, NULL);
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("gone=%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    TcktApi_Finalize(instance);
    return 0;
}
