/* Loads the library given as argument, as old clients do, logs in with the PIN in the environment, and checks what it
 * gets. Knows nothing of the header, so that a name or a calling convention that has changed is noticed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

typedef struct {
    int (*pin)(void *, const void *, char *, unsigned int);
    int (*last_try)(void *, const void *);
    int (*role)(void *, const void *, unsigned int, unsigned int *);
    void (*message)(void *, int, const char *);
} Prompter;

static int pin(void *data, const void *request, char *to, unsigned int size)
{
    (void)data, (void)request;
    snprintf(to, size, "%s", getenv("TEST_PIN"));
    return 0;
}

static int role(void *data, const void *roles, unsigned int count, unsigned int *chosen)
{
    (void)data, (void)roles, (void)count;
    *chosen = 0;
    return 0;
}

static HMODULE library;

static FARPROC named(const char *name)
{
    FARPROC function = GetProcAddress(library, name);
    if (!function) {
        printf("%s is missing\n", name);
        exit(1);
    }
    return function;
}

#define CALL(type, name, ...) ((type)(void *)named(name))(__VA_ARGS__)
typedef long (*Open)(void);
typedef int (*Destroy)(long);
typedef void (*Finish)(long);
typedef int (*Get)(long, char *, unsigned int, unsigned int *);
typedef unsigned int (*LastError)(long);
typedef int (*Describe)(long, unsigned int, char *, unsigned int, unsigned int *);
typedef int (*SetPrompter)(const Prompter *, void *);

static void expect(int condition, const char *what, long instance)
{
    char words[512] = "";
    if (condition)
        return;
    CALL(Describe, "TcktApi_getErrorDescription", instance, CALL(LastError, "TcktApi_getLastError", instance), words,
         sizeof words, NULL);
    printf("failed: %s: %s\n", what, words);
    exit(1);
}

int main(int count, char **words)
{
    static const Prompter prompter = {pin, NULL, role, NULL};
    char ticket[4096], again[4096];
    unsigned int length = 0, size = 0;
    long instance;

    /* A window station that nobody sees, as services have. */
    if (getenv("TEST_UNSEEN"))
        SetProcessWindowStation(CreateWindowStationA(NULL, 0, WINSTA_ALL_ACCESS, NULL));
    if (count != 2 || !(library = LoadLibraryA(words[1]))) {
        printf("the library cannot be loaded: error %lu\n", GetLastError());
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
    expect(CALL(Destroy, "TcktApi_destroyTicket", instance) == 0, "TcktApi_destroyTicket", instance);
    expect(CALL(Get, "TcktApi_getTicketNoAuth", instance, again, sizeof again, &size) != 0, "no ticket any more", instance);
    CALL(Finish, "TcktApi_Finalize", instance);
    FreeLibrary(library);
    printf("logged in with %d-bit %s\n", (int)sizeof(void *) * 8, words[1]);
    return 0;
}
