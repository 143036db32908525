/* Tells the agent what Windows tells the programs of a desktop session: `lock`, `unlock`, `suspend`, `resume`, `asks`
 * (may the session end?), `stays` (somebody has said no), `ends`, or `close`. With `remote` it prints what the library
 * says of this session. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

#ifndef WM_WTSSESSION_CHANGE
#define WM_WTSSESSION_CHANGE 0x2b1
#endif

static const struct {
    const char *name;
    UINT message;
    WPARAM what;
} events[] = {
    {"lock", WM_WTSSESSION_CHANGE, 7},
    {"unlock", WM_WTSSESSION_CHANGE, 8},
    {"suspend", WM_POWERBROADCAST, PBT_APMSUSPEND},
    {"resume", WM_POWERBROADCAST, PBT_APMRESUMEAUTOMATIC},
    {"asks", WM_QUERYENDSESSION, 0},
    {"stays", WM_ENDSESSION, FALSE},
    {"ends", WM_ENDSESSION, TRUE},
    {"close", WM_CLOSE, 0},
};

static int tell_remote(void)
{
    HMODULE library = LoadLibraryA("TicketApiDll.dll");
    long instance = ((long (*)(void))GetProcAddress(library, "TcktApi_Initialize"))();

    printf("remote session: %d\n", ((int (*)(long))GetProcAddress(library, "TcktApi_isTerminalServiceSession"))(instance));
    return 0;
}

int main(int count, char **words)
{
    HWND window = FindWindowA("ticketapi desktop", NULL);
    size_t index;

    if (count != 2)
        return 2;
    if (strcmp(words[1], "remote") == 0)
        return tell_remote();
    if (!window) {
        printf("the agent has no window\n");
        return 1;
    }
    for (index = 0; index < sizeof events / sizeof *events; index++) {
        if (strcmp(words[1], events[index].name) == 0) {
            /* Zero also if the agent has ended in the meantime. */
            printf("%s: %d\n", words[1], (int)SendMessageA(window, events[index].message, events[index].what, 0));
            return 0;
        }
    }
    return 2;
}
