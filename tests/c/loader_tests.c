/* Clients that load the library by name, as the original's clients do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TICKETAPI_FUNCTION_TYPES
#include "TicketApi.h"
#include "harness.h"

typedef struct {
    void *library;
    _TcktApi_Initialize *initialize;
    _TcktApi_GetGAVersion *version;
    _TcktApi_getTicket *get_ticket;
    _TcktApi_getTicketNoAuth *get_ticket_no_auth;
    _TcktApi_getNewTicket *get_new_ticket;
    _TcktApi_destroyTicket *destroy_ticket;
    _TcktApi_getLastError *last_error;
    _TcktApi_getErrorDescription *describe;
    _TcktApi_Finalize *finalize;
} Api;

static const char *old_name(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/libTicketApiDll.so", getenv("TEST_LIBRARIES"));
    return path;
}

static void load(Api *api)
{
    void *library = dlopen(old_name(), RTLD_NOW | RTLD_LOCAL);
    if (!library)
        printf("%s\n", dlerror());
    CHECK(library != NULL);
    api->library = library;
    /* POSIX specifies this conversion for dlsym, which returns data pointers. */
    *(void **)&api->initialize = dlsym(library, "_TcktApi_Initialize");
    *(void **)&api->version = dlsym(library, "_TcktApi_GetGAVersion");
    *(void **)&api->get_ticket = dlsym(library, "_TcktApi_getTicket");
    *(void **)&api->get_ticket_no_auth = dlsym(library, "_TcktApi_getTicketNoAuth");
    *(void **)&api->get_new_ticket = dlsym(library, "_TcktApi_getNewTicket");
    *(void **)&api->destroy_ticket = dlsym(library, "_TcktApi_destroyTicket");
    *(void **)&api->last_error = dlsym(library, "_TcktApi_getLastError");
    *(void **)&api->describe = dlsym(library, "_TcktApi_getErrorDescription");
    *(void **)&api->finalize = dlsym(library, "_TcktApi_Finalize");
    CHECK(api->initialize && api->version && api->get_ticket && api->get_ticket_no_auth && api->get_new_ticket);
    CHECK(api->destroy_ticket && api->last_error && api->describe && api->finalize);
}

/* A PIN window that enters the right PIN. */
static void use_pinentry(void)
{
    char path[512];
    FILE *script;
    snprintf(path, sizeof path, "%s/pinentry-%d", getenv("HOME"), (int)getpid());
    script = fopen(path, "w");
    CHECK(script != NULL);
    fputs("#!/bin/sh\necho OK\nwhile read -r line; do case $line in\nGETPIN) echo 'D 1234'; echo OK ;;\n"
          "BYE) echo OK; exit ;;\n*) echo OK ;;\nesac; done\n", script);
    fclose(script);
    chmod(path, 0700);
    setenv("TICKETAPI_PINENTRY", path, 1);
}

static void at_an_old_desk(void)
{
    static const char *const one_role[] = {"--roles", "1", NULL};
    start_spine(one_role);
    use_card("good.p12");
    use_pinentry();
}

/* Offers 254 bytes, then 1,024, as existing clients do. */
static int fetch(int (*get)(TCK_API_INSTANCE, char *, unsigned, unsigned *), TCK_API_INSTANCE instance, char ticket[1024])
{
    unsigned used = 0;
    int code = get(instance, ticket, 254, &used);
    if ((unsigned)code == TCK_API_ERR_BUFFER_TOO_SMALL)
        code = get(instance, ticket, 1024, &used);
    CHECK_EQ(used, code ? 0 : strlen(ticket));
    return code;
}

static void an_existing_clients_calls(const void *row)
{
    Api api;
    TCK_API_INSTANCE instance;
    char ticket[1024], again[1024], words[254];
    unsigned used, code;
    (void)row;
    load(&api);
    setenv("TICKETAPI_CONFIG", "/nowhere/config.toml", 1);
    CHECK_EQ(api.initialize(), 0);
    code = api.last_error(0);
    CHECK_EQ(code, TCK_API_ERR_LOAD_RES_FAILED);
    CHECK_EQ(api.describe(0, code, words, sizeof words, &used), TCK_API_SUCCESS);
    CHECK(strstr(words, "/nowhere/config.toml") != NULL);
    unsetenv("TICKETAPI_CONFIG");

    at_an_old_desk();
    instance = api.initialize();
    CHECK(instance > 0);
    CHECK(api.version(instance, GATICKET_VERSION_API) && api.version(instance, GATICKET_VERSION_ENGINE));
    CHECK_EQ(api.destroy_ticket(instance), TCK_API_SUCCESS);
    CHECK_EQ(fetch(api.get_ticket_no_auth, instance, ticket), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(fetch(api.get_ticket, instance, ticket), TCK_API_SUCCESS);
    CHECK_EQ(fetch(api.get_ticket_no_auth, instance, again), TCK_API_SUCCESS);
    CHECK_TEXT(again, ticket);
    CHECK_EQ(fetch(api.get_new_ticket, instance, again), TCK_API_SUCCESS);
    CHECK(strcmp(again, ticket) != 0);
    CHECK_EQ(spine_requests("/login/authvalidate"), 2);
    CHECK_EQ(api.destroy_ticket(instance), TCK_API_SUCCESS);
    api.finalize(instance);
    CHECK_EQ(dlclose(api.library), 0);
}

static void *log_in_on_a_thread(void *data)
{
    Api *api = data;
    char ticket[1024];
    TCK_API_INSTANCE instance = api->initialize();
    CHECK_EQ(fetch(api->get_ticket, instance, ticket), TCK_API_SUCCESS);
    /* Leaves a last error, and so thread-local memory, when the thread ends. */
    CHECK_EQ(api->get_ticket(instance, NULL, 0, NULL), TCK_API_ERR_INVALID_PARAMETER);
    api->finalize(instance);
    return NULL;
}

static void *load_on_a_thread(void *data)
{
    Api api;
    (void)data;
    load(&api);
    log_in_on_a_thread(&api);
    CHECK_EQ(dlclose(api.library), 0);
    /* The thread ends after the library was closed. */
    return NULL;
}

static void load_and_unload(const void *row)
{
    int i, count = scaled(100);
    char ticket[1024] = "", again[1024];
    (void)row;
    at_an_old_desk();
    for (i = 0; i < count; i++) {
        Api api;
        TCK_API_INSTANCE instance;
        pthread_t thread;
        load(&api);
        instance = api.initialize();
        if (i > 0 && i % 4 != 0) {
            /* The session still exists. */
            CHECK_EQ(fetch(api.get_ticket_no_auth, instance, again), TCK_API_SUCCESS);
            CHECK_TEXT(again, ticket);
        }
        if (i % 4 == 3)
            CHECK_EQ(api.destroy_ticket(instance), TCK_API_SUCCESS);
        else
            CHECK_EQ(fetch(api.get_ticket, instance, ticket), TCK_API_SUCCESS);
        CHECK(pthread_create(&thread, NULL, i % 2 ? load_on_a_thread : log_in_on_a_thread, &api) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        if (i % 4 == 3)
            CHECK_EQ(api.destroy_ticket(instance), TCK_API_SUCCESS);
        api.finalize(instance);
        CHECK_EQ(dlclose(api.library), 0);
        CHECK_EQ(count_threads(), 1);
    }
}

/* Kills the process at any call that opens a file or socket, or starts a thread or process. */
static void forbid_opening(void)
{
    static const int forbidden[] = {SYS_open, SYS_openat, SYS_creat, SYS_socket, SYS_connect, SYS_clone, SYS_clone3,
        SYS_fork, SYS_vfork, SYS_pipe, SYS_pipe2, SYS_socketpair, SYS_execve};
    enum { COUNT = sizeof forbidden / sizeof *forbidden };
    struct sock_filter filter[COUNT + 3] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    struct sock_fprog program = {COUNT + 3, filter};
    int i;
    for (i = 0; i < COUNT; i++) {
        struct sock_filter jump = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)forbidden[i], (unsigned char)(COUNT - i), 0);
        filter[i + 1] = jump;
    }
    filter[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void nothing_is_opened_before_it_is_needed(const void *row)
{
    Api api;
    TCK_API_INSTANCE instance;
    char text[254];
    (void)row;
    load(&api);
    if (!getenv("TEST_INSTRUMENTED")) /* checkers open files of their own */
        forbid_opening();
    instance = api.initialize();
    CHECK(instance > 0);
    CHECK_EQ(api.get_ticket_no_auth(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(api.destroy_ticket(instance), TCK_API_SUCCESS);
    CHECK_EQ(api.describe(instance, TCK_API_ERR_PIN_BLOCKED, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(api.version(instance, GATICKET_VERSION_ENGINE) != 0);
    api.finalize(instance);
    fflush(stdout);
    /* Exit handlers may open files, which would kill the process here. */
    _exit(0);
}

/* The host's own use of the PKCS#11 module, with the first entries of its function list. */
typedef unsigned long Call(void);
typedef struct {
    unsigned long state[4]; /* CK_SESSION_INFO: slot, state, flags, error */
} SessionInfo;
typedef struct {
    unsigned char major, minor;
    unsigned long (*initialize)(void *);
    unsigned long (*finalize)(void *);
    Call *get_info, *get_function_list;
    unsigned long (*get_slot_list)(unsigned char, unsigned long *, unsigned long *);
    Call *seven[7]; /* C_GetSlotInfo to C_SetPIN */
    unsigned long (*open_session)(unsigned long, unsigned long, void *, void *, unsigned long *);
    Call *close_session, *close_all_sessions;
    unsigned long (*get_session_info)(unsigned long, SessionInfo *);
    Call *get_operation_state, *set_operation_state;
    unsigned long (*login)(unsigned long, unsigned long, const char *, unsigned long);
} FunctionList;

enum { SERIAL_SESSION = 4, USER = 1, LOGGED_IN = 1 };

static volatile int over;
static long rounds;
/* PKCS#11 requires the host to finalize the module only when no call is active. */
static pthread_rwlock_t in_use = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

static void *use_the_module(void *data)
{
    FunctionList *module = data;
    long mine = 0;
    while (!over) {
        unsigned long slots[16], count = 16;
        pthread_rwlock_rdlock(&in_use);
        CHECK_EQ(module->get_slot_list(1, slots, &count), 0);
        pthread_rwlock_unlock(&in_use);
        CHECK(count >= 1);
        mine++;
    }
    __atomic_fetch_add(&rounds, mine, __ATOMIC_RELAXED);
    return NULL;
}

static FunctionList *load_module(void)
{
    unsigned long (*get_function_list)(FunctionList **);
    FunctionList *module = NULL;
    void *library = dlopen(getenv("TEST_MODULE"), RTLD_NOW);
    CHECK(library != NULL);
    setenv("SOFTHSM2_CONF", getenv("TEST_MODULE_CONF"), 1);
    *(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
    CHECK(get_function_list && get_function_list(&module) == 0);
    return module;
}

/* Behaves like a host that initializes and finalizes the module at any time, or that stays logged in in its own
   session. */
static void a_host_uses_the_same_module(const void *restarts)
{
    Api api;
    TCK_API_INSTANCE instance;
    pthread_t threads[8];
    FunctionList *module = load_module();
    /* CKF_OS_LOCKING_OK */
    struct { void *mutexes[4]; unsigned long flags; void *reserved; } locking = {{0}, 2, 0};
    static const char *const one_role[] = {"--roles", "1", NULL};
    unsigned long slots[16], count = 16, session = 0;
    SessionInfo info;
    char ticket[1024];
    int i;
    start_spine(one_role);
    use_card("good");
    use_pinentry();
    CHECK_EQ(module->initialize(&locking), 0);
    if (!restarts) {
        CHECK(module->get_slot_list(1, slots, &count) == 0 && count >= 1);
        CHECK_EQ(module->open_session(slots[0], SERIAL_SESSION, NULL, NULL, &session), 0);
        CHECK_EQ(module->login(session, USER, "1234", 4), 0);
    }
    for (i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, use_the_module, module) == 0);
    load(&api);
    instance = api.initialize();
    for (i = 0; i < scaled(5); i++) {
        CHECK_EQ(fetch(api.get_ticket, instance, ticket), TCK_API_SUCCESS);
        if (restarts) {
            pthread_rwlock_wrlock(&in_use);
            CHECK_EQ(module->finalize(NULL), 0);
            CHECK_EQ(module->initialize(&locking), 0);
            pthread_rwlock_unlock(&in_use);
        } else {
            CHECK_EQ(module->get_session_info(session, &info), 0);
            CHECK_EQ(info.state[1], LOGGED_IN);
        }
        CHECK_EQ(api.destroy_ticket(instance), TCK_API_SUCCESS);
    }
    over = 1;
    for (i = 0; i < 8; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(rounds > 0);
    CHECK_EQ(module->finalize(NULL), 0);
    api.finalize(instance);
}

static const Test tests[] = {
    {"an existing client's calls", an_existing_clients_calls, NULL},
    {"load and unload 100 times", load_and_unload, NULL},
    {"nothing is opened or started before it is needed", nothing_is_opened_before_it_is_needed, NULL},
    {"a host that is logged in to the same module and uses it in 8 threads", a_host_uses_the_same_module, NULL},
    {"a host that initializes and finalizes the same module", a_host_uses_the_same_module, "restarts"},
    {NULL, NULL, NULL},
};

int main(int argc, char **argv)
{
    const Test *lists[] = {tests, NULL};
    return run_tests(lists, argc, argv);
}
