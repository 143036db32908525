/* What a host does to its process, and what the library must not change in it. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "prompts.h"

static TCK_API_INSTANCE parents;

/* In a child of a process with a session, with a login in progress, or with neither. */
static void as_a_child(void)
{
    char ticket[1024];
    TCK_API_INSTANCE own;
    CHECK_EQ(TcktApi_getLastError(0), 0);
    CHECK_EQ(TcktApi_getTicketNoAuth(parents, ticket, sizeof ticket, NULL), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(TcktApi_getTicket(parents, ticket, sizeof ticket, NULL), TCK_API_ERR_NOT_INITIALIZED);
    own = TcktApi_Initialize();
    CHECK(own > 0 && own != parents);
    CHECK_EQ(TcktApi_getTicketNoAuth(parents, ticket, sizeof ticket, NULL), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
    CHECK_EQ(TcktApi_getTicketNoAuth(own, ticket, sizeof ticket, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    TcktApi_Finalize(own);
}

static void fork_with_a_session(const void *row)
{
    User user;
    char ticket[1024], again[1024];
    int i;
    pid_t child;
    (void)row;
    at_a_desk(&user);
    parents = TcktApi_Initialize();
    for (i = 0; i < scaled(100); i++) {
        if ((child = fork()) == 0) {
            as_a_child();
            leave();
        }
        CHECK_EQ(status_of(child), 0);
    }
    log_in(parents, ticket);
    for (i = 0; i < scaled(100); i++) {
        if ((child = fork()) == 0) {
            as_a_child();
            leave();
        }
        CHECK_EQ(status_of(child), 0);
        CHECK_EQ(TcktApi_getTicketNoAuth(parents, again, sizeof again, NULL), TCK_API_SUCCESS);
        CHECK_TEXT(again, ticket);
    }
    if ((child = fork()) == 0) {
        /* As if freshly loaded: the child can log in, and has that session for itself. */
        TCK_API_INSTANCE own;
        user.pins = 0;
        answer_with(&user);
        own = TcktApi_Initialize();
        log_in(own, again);
        CHECK(strcmp(again, ticket) != 0);
        CHECK_EQ(TcktApi_destroyTicket(own), TCK_API_SUCCESS);
        leave();
    }
    CHECK_EQ(status_of(child), 0);
    CHECK_EQ(TcktApi_getTicketNoAuth(parents, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_destroyTicket(parents), TCK_API_SUCCESS);
}

static void *log_in_and_out(void *data)
{
    volatile int *over = data;
    char ticket[1024];
    while (!*over) {
        CHECK_EQ(TcktApi_getTicket(parents, ticket, sizeof ticket, NULL), TCK_API_SUCCESS);
        CHECK_EQ(TcktApi_destroyTicket(parents), TCK_API_SUCCESS);
    }
    return NULL;
}

static void fork_during_logins(const void *row)
{
    User user;
    pthread_t thread;
    static volatile int over;
    int i, stuck = 0;
    (void)row;
    at_a_desk(&user);
    user.then = "1234";
    parents = TcktApi_Initialize();
    CHECK(pthread_create(&thread, NULL, log_in_and_out, (void *)&over) == 0);
    for (i = 0; i < scaled(200); i++) {
        pid_t child = fork();
        int status;
        if (child == 0) {
#ifdef __SANITIZE_ADDRESS__
            /* A child does not reset the sanitizer's own locks: one that another thread held at fork() stays locked
               for ever. */
            alarm(20);
#endif
            as_a_child();
            leave();
        }
        status = status_of(child);
#ifdef __SANITIZE_ADDRESS__
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM && ++stuck <= 2)
            continue;
#endif
        CHECK_EQ(status, 0);
    }
    (void)stuck;
    over = 1;
    CHECK(pthread_join(thread, NULL) == 0);
}

static int forked_in_prompt;

static void fork_in_the_prompt(void)
{
    forked_in_prompt = fork();
}

static void a_child_forked_in_a_prompt_does_not_log_in(const void *row)
{
    User user;
    char ticket[1024];
    int code;
    (void)row;
    at_a_desk(&user);
    user.while_asked = fork_in_the_prompt;
    code = TcktApi_getTicket(TcktApi_Initialize(), ticket, sizeof ticket, NULL);
    if (forked_in_prompt == 0)
        _exit((unsigned)code != TCK_API_ERR_USER_ABORT);
    CHECK_EQ(code, TCK_API_SUCCESS);
    CHECK_EQ(status_of(forked_in_prompt), 0);
}

static void *log_in_on_this_stack(void *data)
{
    User *user = data;
    char ticket[1024];
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    log_in(instance, ticket);
    CHECK(pthread_equal(user->asked_on, pthread_self()));
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
    return NULL;
}

static void small_stack(const void *card)
{
    User user = {.pin = "1234", .role = 0};
    pthread_attr_t small;
    pthread_t thread;
    start_spine(NULL);
    use_card(card);
    answer_with(&user);
    pthread_attr_init(&small);
    /* Checkers need a larger stack themselves. */
    CHECK(pthread_attr_setstacksize(&small, (getenv("TEST_INSTRUMENTED") ? 1024 : 64) * 1024) == 0);
    CHECK(pthread_create(&thread, &small, log_in_on_this_stack, &user) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* The simulator checks each message, and the library each response: a result that depends on uninitialized bytes is
   wrong for one of these stacks. */
static void old_values_on_the_stack_have_no_effect(const void *row)
{
    static const int before[] = {0x00, 0xff, 0x5a};
    enum { SIZE = 2 << 20 };
    User user = {.pin = "1234", .role = 0};
    pthread_attr_t filled;
    pthread_t thread;
    size_t i;
    (void)row;
    start_spine(NULL);
    use_card("good.p12");
    answer_with(&user);
    for (i = 0; i < sizeof before / sizeof *before; i++) {
        char *stack = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        CHECK(stack != MAP_FAILED);
        memset(stack, before[i], SIZE);
        pthread_attr_init(&filled);
        CHECK(pthread_attr_setstack(&filled, stack, SIZE) == 0);
        CHECK(pthread_create(&thread, &filled, log_in_on_this_stack, &user) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(munmap(stack, SIZE) == 0);
    }
}

static void blocked_signals(const void *row)
{
    User user = {.pin = "1234", .role = 0};
    sigset_t all, now;
    char ticket[1024];
    TCK_API_INSTANCE instance;
    (void)row;
    start_spine(NULL);
    use_card("good");
    answer_with(&user);
    sigfillset(&all);
    sigdelset(&all, SIGALRM);
    CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    instance = TcktApi_Initialize();
    log_in(instance, ticket);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIGTERM) && sigismember(&now, SIGCHLD) && !sigismember(&now, SIGALRM));
    CHECK_EQ(count_children(), 1);
}

/* SIGCHLD is ignored: the system reaps the helper before the library can. */
static void nobody_waits_for_children(const void *row)
{
    User user = {.pin = "1234", .role = 0};
    char ticket[1024];
    TCK_API_INSTANCE instance;
    (void)row;
    start_spine(NULL);
    use_card("good");
    answer_with(&user);
    signal(SIGCHLD, SIG_IGN);
    instance = TcktApi_Initialize();
    log_in(instance, ticket);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
}

/* The host may still print, which must not go into a connection. */
static void nothing_took_their_numbers(void)
{
    int i;
    for (i = 0; i < 3; i++)
        CHECK(fcntl(i, F_GETFD) < 0 && errno == EBADF);
}

static void closed_stdio(const void *card)
{
    User user = {.pin = "1234", .role = 0, .while_asked = nothing_took_their_numbers};
    char ticket[1024];
    TCK_API_INSTANCE instance;
    int i;
    start_spine(NULL);
    use_card(card);
    answer_with(&user);
    report_to = fcntl(1, F_DUPFD, 10);
    for (i = 0; i < 3; i++)
        close(i);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 1);
    nothing_took_their_numbers();
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    nothing_took_their_numbers();
    /* For the checker's report at the end. */
    dup2(report_to, 1);
}

const Test process_tests[] = {
    {"fork before, with and after a session", fork_with_a_session, NULL},
    {"fork during logins", fork_during_logins, NULL},
    {"a child forked in a prompt does not log in", a_child_forked_in_a_prompt_does_not_log_in, NULL},
    {"a thread with a stack of 64 KiB: software card", small_stack, "good.p12"},
    {"a thread with a stack of 64 KiB: helper", small_stack, "good"},
    {"old values on the stack have no effect", old_values_on_the_stack_have_no_effect, NULL},
    {"a host that blocks all signals", blocked_signals, NULL},
    {"a host that lets the system reap its children", nobody_waits_for_children, NULL},
    {"a host without stdio: software card", closed_stdio, "good.p12"},
    {"a host without stdio: helper", closed_stdio, "good"},
    {NULL, NULL, NULL},
};
