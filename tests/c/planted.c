/* Faults that a checker must find, to show that it is active. */
#include <stdlib.h>
#include <string.h>

#include "TicketApi.h"

static void *volatile lost;

int main(int argc, char **argv)
{
    const char *fault = argc > 1 ? argv[1] : "";
    if (strcmp(fault, "overflow") == 0) {
        /* The library is given a size larger than the buffer, and writes beyond its end. */
        char *text = malloc(4);
        TcktApi_getErrorDescription(0, TCK_API_ERR_PIN_BLOCKED, text, 254, NULL);
        free(text);
    } else if (strcmp(fault, "leak") == 0) {
        lost = malloc(4711);
        lost = NULL;
    }
    return 0;
}
