/* Loads the library given as argument, as old clients do, logs in with the PINs in the environment, and checks what it
 * gets. Knows nothing of the header, so that a name or a calling convention that has changed is noticed. On Linux too,
 * so that both systems can be compared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <windows.h>
typedef HMODULE Library;
/* The last argument as it is, and not in the computer's code page. */
static Library open_argument(void)
{
    wchar_t *line = GetCommandLineW(), *name;
    size_t length = wcslen(line);
    int quoted = line[length - 1] == '"';

    if (quoted)
        line[length - 1] = 0;
    name = wcsrchr(line, quoted ? '"' : ' ');
    return name ? LoadLibraryW(name + 1) : NULL;
}
#define OPEN(name) ((void)(name), open_argument())
#define FIND(library, name) (void *)GetProcAddress(library, name)
#define CLOSE(library) FreeLibrary(library)
#define SLEEP(milliseconds) Sleep(milliseconds)
#else
#include <dlfcn.h>
#include <unistd.h>
typedef void *Library;
#define OPEN(name) dlopen(name, RTLD_NOW)
#define FIND(library, name) dlsym(library, name)
#define CLOSE(library) dlclose(library)
#define SLEEP(milliseconds) usleep((milliseconds) * 1000)
#endif

#include "prompter.h"

/* Enters the PINs of TEST_PIN, which are separated by commas, one after the other, and then gives up. */
static int pin(void *data, const void *request, char *to, unsigned int size)
{
    static const char *next;
    size_t length;

    (void)data, (void)request;
    if (!next)
        next = getenv("TEST_PIN");
    length = next ? strcspn(next, ",") : 0;
    printf("asked for the PIN\n");
    if (length == 0 || length >= size)
        return 1;
    memcpy(to, next, length);
    to[length] = 0;
    next += length + (next[length] == ',');
    return 0;
}

static int last_try(void *data, const void *request)
{
    (void)data, (void)request;
    printf("asked for the last try\n");
    return getenv("TEST_LAST_TRY") ? 0 : 1;
}

static void message(void *data, int number, const char *text)
{
    (void)data;
    printf("message %d: %s\n", number, text);
}

static Library library;

static void *named(const char *name)
{
    void *function = FIND(library, name);
    if (!function) {
        printf("%s is missing\n", name);
        exit(1);
    }
    return function;
}

#define CALL(type, name, ...) ((type)named(name))(__VA_ARGS__)
typedef long (*Open)(void);
typedef int (*Destroy)(long);
typedef void (*Finish)(long);
typedef int (*Get)(long, char *, unsigned int, unsigned int *);
typedef unsigned int (*LastError)(long);
typedef int (*Describe)(long, unsigned int, char *, unsigned int, unsigned int *);
typedef int (*SetPrompter)(const Prompter *, void *);

static void expect(int condition, const char *what, long instance)
{
    char words[4096] = "";
    unsigned int code;

    if (condition)
        return;
    code = CALL(LastError, "TcktApi_getLastError", instance);
    CALL(Describe, "TcktApi_getErrorDescription", instance, code, words, sizeof words, NULL);
    printf("failed: %s: 0x%08x: %s\n", what, code, words);
    exit(1);
}

int main(int count, char **words)
{
    static const Prompter prompter = {pin, last_try, first_role, message};
    char ticket[4096], again[4096];
    unsigned int length = 0, size = 0;
    long instance;

    setvbuf(stdout, NULL, _IONBF, 0);
#ifdef _WIN32
    /* A window station that nobody sees, as services have. */
    if (getenv("TEST_UNSEEN"))
        SetProcessWindowStation(CreateWindowStationA(NULL, 0, WINSTA_ALL_ACCESS, NULL));
#endif
    if (count != 2 || !(library = OPEN(words[1]))) {
        printf("the library cannot be loaded\n");
        return 1;
    }
    /* Without a PIN, the library's own prompts. */
    if (getenv("TEST_PIN"))
        CALL(SetPrompter, "ticketapi_set_prompter", &prompter, NULL);
    instance = CALL(Open, "TcktApi_Initialize");
    expect(instance != 0, "TcktApi_Initialize", 0);
    expect(CALL(Get, "TcktApi_getTicketNoAuth", instance, ticket, sizeof ticket, &length) != 0, "no ticket yet", instance);
    expect(CALL(Get, "TcktApi_getTicket", instance, ticket, sizeof ticket, &length) == 0, "TcktApi_getTicket", instance);
    expect(length > 0 && strlen(ticket) == length, "the ticket's length", instance);
    expect(CALL(Get, "TcktApi_getTicketNoAuth", instance, again, sizeof again, &size) == 0 && strcmp(ticket, again) == 0,
           "the same ticket again", instance);
    /* Until the session ends by itself. */
    if (getenv("TEST_UNTIL_END")) {
        printf("logged in until the session ends\n");
        while (CALL(Get, "TcktApi_getTicketNoAuth", instance, again, sizeof again, &size) == 0)
            SLEEP(100);
        expect(0, "the session has ended", instance);
    }
    expect(CALL(Destroy, "TcktApi_destroyTicket", instance) == 0, "TcktApi_destroyTicket", instance);
    expect(CALL(Get, "TcktApi_getTicketNoAuth", instance, again, sizeof again, &size) != 0, "no ticket any more", instance);
    CALL(Finish, "TcktApi_Finalize", instance);
    CLOSE(library);
    printf("logged in with the %d-bit library\n", (int)sizeof(void *) * 8);
    return 0;
}
