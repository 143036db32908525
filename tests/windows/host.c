/* A program that does to the library what hosts do to theirs: `host CONDITION`. Each condition ends the program with 0
 * if it holds; the variables of the library say with which card. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <tlhelp32.h>

#include "prompter.h"

#define LIBRARY "TicketApiDll.dll"

static HMODULE library;

static void fail(const char *what)
{
    printf("failed: %s (error %lu)\n", what, GetLastError());
    fflush(stdout);
    TerminateProcess(GetCurrentProcess(), 1);
}

static void check(int condition, const char *what)
{
    if (!condition)
        fail(what);
}

static void *named(const char *name)
{
    void *function = (void *)GetProcAddress(library, name);
    check(function != NULL, name);
    return function;
}

#define CALL(type, name, ...) ((type)named(name))(__VA_ARGS__)
typedef long (*Open)(void);
typedef unsigned int (*Version)(void);
typedef int (*Destroy)(long);
typedef void (*Finish)(long);
typedef int (*Get)(long, char *, unsigned int, unsigned int *);
typedef unsigned int (*LastError)(long);
typedef int (*Describe)(long, unsigned int, char *, unsigned int, unsigned int *);
typedef int (*SetPrompter)(const Prompter *, void *);

/* Called while the PIN is asked for: the helper runs, and the connection to the server is open. */
static void (*in_login)(void);

static int pin(void *data, const void *request, char *to, unsigned int size)
{
    (void)data, (void)request;
    if (in_login)
        in_login();
    lstrcpynA(to, getenv("TEST_PIN"), (int)size);
    return 0;
}

static const char *description(long instance)
{
    static char words[1024];
    unsigned int code = CALL(LastError, "TcktApi_getLastError", instance);

    CALL(Describe, "TcktApi_getErrorDescription", instance, code, words, sizeof words, NULL);
    return words;
}

static void load(void)
{
    library = LoadLibraryA(LIBRARY);
    check(library != NULL, "LoadLibrary");
}

static long open_handle(void)
{
    static const Prompter prompter = {pin, allow_last_try, first_role, read_message};
    long instance;

    CALL(SetPrompter, "ticketapi_set_prompter", &prompter, NULL);
    instance = CALL(Open, "TcktApi_Initialize");
    check(instance > 0, "TcktApi_Initialize");
    return instance;
}

static void log_in(long instance)
{
    char ticket[4096];

    if (CALL(Get, "TcktApi_getTicket", instance, ticket, sizeof ticket, NULL) != 0)
        fail(description(instance));
}

static void log_out(long instance)
{
    check(CALL(Destroy, "TcktApi_destroyTicket", instance) == 0, "TcktApi_destroyTicket");
}

static void finish(long instance)
{
    CALL(Finish, "TcktApi_Finalize", instance);
}

/* The threads of this process, or its children whose program has this name. */
static int count(DWORD what, const char *program)
{
    HANDLE all = CreateToolhelp32Snapshot(what, 0);
    THREADENTRY32 thread = {.dwSize = sizeof thread};
    PROCESSENTRY32 process = {.dwSize = sizeof process};
    DWORD me = GetCurrentProcessId();
    int found = 0, more;

    check(all != INVALID_HANDLE_VALUE, "CreateToolhelp32Snapshot");
    if (what == TH32CS_SNAPTHREAD)
        for (more = Thread32First(all, &thread); more; more = Thread32Next(all, &thread))
            found += thread.th32OwnerProcessID == me;
    else
        for (more = Process32First(all, &process); more; more = Process32Next(all, &process))
            found += process.th32ParentProcessID == me && _stricmp(process.szExeFile, program) == 0;
    CloseHandle(all);
    return found;
}

static int threads(void)
{
    return count(TH32CS_SNAPTHREAD, NULL);
}

static int helpers(void)
{
    return count(TH32CS_SNAPPROCESS, "ticketapi-card.exe");
}

/* A library whose DllMain loads this one: DllMain runs under the loader's lock, so that a wait for another thread would
 * never end. It also calls a function. */
static void loaded_by_a_library(void)
{
    int before = threads();

    check(LoadLibraryA("loads.dll") != NULL, "loads.dll");
    check(threads() == before, "loading starts no thread");
    load();
    long instance = open_handle();
    log_in(instance);
    log_out(instance);
    finish(instance);
}

/* The last Finalize leaves no thread and no helper, also with a session. */
static void ends_its_threads(void)
{
    int before = threads(), in_session = 0, round;

    load();
    for (round = 0; round < 4; round++) {
        long instance = open_handle(), other = open_handle();
        log_in(instance);
        if (round % 2)
            log_out(instance);
        else
            in_session = threads();
        finish(instance);
        finish(other);
        check(threads() == before, round % 2 ? "no thread after a logout" : "no thread after a session");
        while (helpers() > 0)
            Sleep(10);
        /* The session goes on. */
        if (round % 2 == 0) {
            char ticket[4096];
            instance = open_handle();
            check(CALL(Get, "TcktApi_getTicketNoAuth", instance, ticket, sizeof ticket, NULL) == 0, "the session goes on");
            log_out(instance);
            finish(instance);
            check(threads() == before, "no thread after the session's end");
        }
    }
    check(in_session > before, "a session has a thread");
}

static DWORD WINAPI ask_and_stay(void *go)
{
    CALL(Version, "GetDllVersion");
    CALL(LastError, "TcktApi_getLastError", 7);
    SetEvent(((HANDLE *)go)[0]);
    WaitForSingleObject(((HANDLE *)go)[1], INFINITE);
    return 0;
}

/* A library that was not used is unloaded; one that was used stays, and works when it is loaded again. */
static void freed(void)
{
    HANDLE go[2] = {CreateEventA(NULL, TRUE, FALSE, NULL), CreateEventA(NULL, TRUE, FALSE, NULL)}, thread;
    int round;

    load();
    check(FreeLibrary(library), "FreeLibrary");
    check(GetModuleHandleA(LIBRARY) == NULL, "an unused library is unloaded");
    /* A thread that has called it lives longer. */
    load();
    thread = CreateThread(NULL, 0, ask_and_stay, go, 0, NULL);
    WaitForSingleObject(go[0], INFINITE);
    check(FreeLibrary(library), "FreeLibrary");
    SetEvent(go[1]);
    WaitForSingleObject(thread, INFINITE);
    for (round = 0; round < 3; round++) {
        long instance;
        load();
        instance = open_handle();
        log_in(instance);
        if (round)
            log_out(instance);
        finish(instance);
        check(FreeLibrary(library), "FreeLibrary");
    }
    /* With a handle and a session left. */
    load();
    log_in(open_handle());
    FreeLibrary(library);
}

static HANDLE asked, may_go_on;

static void wait_in_login(void)
{
    SetEvent(asked);
    WaitForSingleObject(may_go_on, INFINITE);
}

static DWORD WINAPI log_in_on_a_thread(void *instance)
{
    char ticket[4096];
    Get get = (Get)named("TcktApi_getTicket");

    return (DWORD)get((long)(INT_PTR)instance, ticket, sizeof ticket, NULL);
}

/* FreeLibrary during another thread's login: the login goes on. */
static void freed_during_a_login(void)
{
    DWORD code = 1;
    HANDLE thread;
    long instance;

    asked = CreateEventA(NULL, TRUE, FALSE, NULL);
    may_go_on = CreateEventA(NULL, TRUE, FALSE, NULL);
    load();
    instance = open_handle();
    in_login = wait_in_login;
    thread = CreateThread(NULL, 0, log_in_on_a_thread, (void *)(INT_PTR)instance, 0, NULL);
    WaitForSingleObject(asked, INFINITE);
    check(FreeLibrary(library), "FreeLibrary");
    check(GetModuleHandleA(LIBRARY) != NULL, "the library stays loaded during a login");
    SetEvent(may_go_on);
    WaitForSingleObject(thread, INFINITE);
    GetExitCodeThread(thread, &code);
    check(code == 0, "the login");
}

#define HANDLES 4096

/* The handles of this process that a child would inherit. */
static int inheritable(char *found)
{
    DWORD flags;
    int index, number = 0;

    for (index = 1; index < HANDLES; index++) {
        HANDLE handle = (HANDLE)(INT_PTR)(index * 4);
        found[index] = GetHandleInformation(handle, &flags) && (flags & HANDLE_FLAG_INHERIT);
        number += found[index];
    }
    return number;
}

static char before_login[HANDLES], here[HANDLES];
static int looked;

static void look_at_handles(void)
{
    int index;

    inheritable(here);
    for (index = 1; index < HANDLES; index++)
        check(!here[index] || before_login[index], "a handle that children inherit was opened in a login");
    looked++;
}

/* The host's children inherit nothing: not when the PIN is asked for, nor in a session. */
static void inherits_nothing(void)
{
    long instance;

    load();
    inheritable(before_login);
    in_login = look_at_handles;
    instance = open_handle();
    log_in(instance);
    check(looked == 1, "the PIN was asked for");
    look_at_handles();
    /* The connection to the server may stay open after this. */
    log_out(instance);
    look_at_handles();
    finish(instance);
    look_at_handles();
}

/* A thread that acts as another user is refused; one that acts as its own is not. */
static void impersonates(void)
{
    long instance;

    load();
    check(ImpersonateSelf(SecurityImpersonation), "ImpersonateSelf");
    instance = open_handle();
    log_in(instance);
    log_out(instance);
    check(RevertToSelf(), "RevertToSelf");
    finish(instance);
    if (!ImpersonateAnonymousToken(GetCurrentThread())) {
        printf("no other user can be impersonated here (error %lu)\n", GetLastError());
        return;
    }
    instance = CALL(Open, "TcktApi_Initialize");
    check(RevertToSelf(), "RevertToSelf");
    check(instance == 0, "a thread that acts as another user is refused");
    printf("%s\n", description(0));
}

int main(int count_of_words, char **words)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } conditions[] = {
        {"loaded-by-a-library", loaded_by_a_library},
        {"ends-its-threads", ends_its_threads},
        {"freed", freed},
        {"freed-during-a-login", freed_during_a_login},
        {"inherits-nothing", inherits_nothing},
        {"impersonates", impersonates},
    };
    size_t index;

    for (index = 0; index < sizeof conditions / sizeof *conditions; index++) {
        if (count_of_words == 2 && strcmp(words[1], conditions[index].name) == 0) {
            conditions[index].run();
            printf("%s holds\n", words[1]);
            return 0;
        }
    }
    return 2;
}
