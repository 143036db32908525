/* Prints the ticket that the library gives, as an old client gets it: of a login if there is none, or with the argument
 * `existing` only of one that is there. With `destroy` it logs out. */
#include <stdio.h>
#include <windows.h>

#define CALL(type, name, ...) ((type)GetProcAddress(library, name))(__VA_ARGS__)

int main(int count, char **words)
{
    HMODULE library = LoadLibraryA("TicketApiDll.dll");
    const char *what = count > 1 ? words[1] : "";
    const char *get = lstrcmpA(what, "existing") == 0 ? "TcktApi_getTicketNoAuth" : "TcktApi_getTicket";
    char ticket[8192];
    unsigned int length = 0, code;
    long instance;

    if (!library) {
        printf("the library cannot be loaded\n");
        return 1;
    }
    instance = CALL(long (*)(void), "TcktApi_Initialize");
    if (lstrcmpA(what, "destroy") == 0) {
        if (CALL(int (*)(long), "TcktApi_destroyTicket", instance) == 0) {
            printf("logged out\n");
            return 0;
        }
    } else if (CALL(int (*)(long, char *, unsigned int, unsigned int *), get, instance, ticket, sizeof ticket, &length) == 0) {
        printf("ticket: %s\n", ticket);
        return 0;
    }
    code = CALL(unsigned int (*)(long), "TcktApi_getLastError", instance);
    CALL(int (*)(long, unsigned int, char *, unsigned int, unsigned int *), "TcktApi_getErrorDescription", instance, code,
         ticket, sizeof ticket, NULL);
    printf("failed: 0x%08x: %s\n", code, ticket);
    return 1;
}
