/* What a host does to its process, and what the library must not do to it. */
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

static int status_of(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/* The child of a process with a session, a login under way, or neither. */
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
        /* As if freshly loaded: it can log in for itself, and that session is its own. */
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
            /* The sanitizer's own locks are not made anew in a child: one that the other thread held is held for ever. */
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
    /* Checkers need more than that for themselves. */
    CHECK(pthread_attr_setstacksize(&small, (getenv("TEST_INSTRUMENTED") ? 1024 : 64) * 1024) == 0);
    CHECK(pthread_create(&thread, &small, log_in_on_this_stack, &user) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* The server checks each message, and the library each answer: what is computed from bytes that nobody
   wrote comes out wrong on one of these stacks. */
static void what_was_on_the_stack_makes_no_difference(const void *row)
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

/* SIGCHLD ignored: the system reaps the helper before the library can. */
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

/* A host may still print: not into a connection. */
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
    /* For what a checker has to say at the end. */
    dup2(report_to, 1);
}

typedef struct {
    struct sigaction handlers[65];
    sigset_t mask;
    mode_t mask_of_files;
    char folder[256];
    char locale[64];
    struct rlimit limits[RLIM_NLIMITS];
    stack_t signal_stack;
    char descriptors[8192];
    int threads, children, dumpable, priority;
    unsigned long environment;
    char name[17];
} Host;

extern char **environ;

/* Which descriptor is open for what. */
static void list_descriptors(char *list, size_t size)
{
    int i;
    for (i = 0; i < 1024; i++) {
        char path[32], target[256];
        ssize_t length;
        snprintf(path, sizeof path, "/proc/self/fd/%d", i);
        length = readlink(path, target, sizeof target - 1);
        if (length < 0)
            continue;
        target[length] = 0;
        snprintf(list + strlen(list), size - strlen(list), "%d %s\n", i, target);
    }
}

static void look(Host *host)
{
    int i;
    char **variable;
    memset(host, 0, sizeof *host);
    for (i = 1; i < 65; i++)
        sigaction(i, NULL, &host->handlers[i]);
    sigprocmask(SIG_SETMASK, NULL, &host->mask);
    host->mask_of_files = umask(022);
    umask(host->mask_of_files);
    CHECK(getcwd(host->folder, sizeof host->folder) != NULL);
    snprintf(host->locale, sizeof host->locale, "%s", setlocale(LC_ALL, NULL));
    for (i = 0; i < (int)RLIM_NLIMITS; i++)
        getrlimit((__rlimit_resource_t)i, &host->limits[i]);
    sigaltstack(NULL, &host->signal_stack);
    list_descriptors(host->descriptors, sizeof host->descriptors);
    host->dumpable = prctl(PR_GET_DUMPABLE);
    host->priority = getpriority(PRIO_PROCESS, 0);
    prctl(PR_GET_NAME, host->name);
    host->threads = count_threads();
    host->children = count_children();
    for (variable = environ; *variable; variable++) {
        const char *at;
        for (at = *variable; *at; at++)
            host->environment = host->environment * 31 + (unsigned char)*at;
    }
}

static int same_signals(const sigset_t *one, const sigset_t *other)
{
    int i, same = 1;
    for (i = 1; i < 65; i++)
        same &= sigismember(one, i) == sigismember(other, i);
    return same;
}

/* What is not as it was; NULL where nothing is. */
static const char *difference(const Host *before, const Host *after)
{
    int i;
    for (i = 1; i < 65; i++) {
        if (before->handlers[i].sa_handler != after->handlers[i].sa_handler ||
            before->handlers[i].sa_flags != after->handlers[i].sa_flags ||
            !same_signals(&before->handlers[i].sa_mask, &after->handlers[i].sa_mask))
            return "signal handler";
    }
    if (!same_signals(&before->mask, &after->mask))
        return "signal mask";
    if (after->mask_of_files != before->mask_of_files)
        return "umask";
    if (strcmp(after->folder, before->folder) != 0)
        return "working directory";
    if (strcmp(after->locale, before->locale) != 0)
        return "locale";
    if (memcmp(after->limits, before->limits, sizeof after->limits) != 0)
        return "limit";
    if (before->signal_stack.ss_sp != after->signal_stack.ss_sp || before->signal_stack.ss_flags != after->signal_stack.ss_flags)
        return "signal stack";
    if (strcmp(after->descriptors, before->descriptors) != 0)
        return "descriptor";
    if (after->threads != before->threads && !threads_become(before->threads))
        return "thread";
    if (after->children != before->children)
        return "child";
    if (after->environment != before->environment)
        return "environment";
    if (after->dumpable != before->dumpable || after->priority != before->priority || strcmp(after->name, before->name) != 0)
        return "name, priority or dumpable";
    return NULL;
}

static void check_same(const Host *before, const Host *after)
{
    const char *different = difference(before, after);
    CHECK_TEXT(different ? different : "", "");
}

static void *stay(void *data)
{
    pause();
    return data;
}

static void nothing(int number)
{
    (void)number;
}

/* Each is done to the host on purpose, and seen. */
static void what_a_guest_must_not_change_is_seen(const void *row)
{
    static const char *const expected[] = {"signal handler", "signal mask", "umask", "working directory", "locale", "limit",
        "descriptor", "thread", "child", "environment", "name, priority or dumpable"};
    struct sigaction action = {.sa_handler = nothing};
    struct rlimit limit;
    sigset_t one;
    size_t i;
    (void)row;
    if (getenv("TEST_INSTRUMENTED")) /* nothing of the library runs here */
        return;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    for (i = 0; i < sizeof expected / sizeof *expected; i++) {
        Host before, after;
        pid_t child = fork(), left = 0;
        pthread_t thread;
        if (child != 0) {
            CHECK_EQ(status_of(child), 0);
            continue;
        }
        look(&before);
        switch (i) {
        case 0: sigaction(SIGUSR1, &action, NULL); break;
        case 1: sigprocmask(SIG_BLOCK, &one, NULL); break;
        case 2: umask(before.mask_of_files ^ 07); break;
        case 3: CHECK(chdir("/proc") == 0); break;
        case 4: CHECK(setlocale(LC_ALL, "C.UTF-8")); break;
        case 5: getrlimit(RLIMIT_NOFILE, &limit); limit.rlim_cur--; setrlimit(RLIMIT_NOFILE, &limit); break;
        case 6: CHECK(dup2(open("/dev/null", O_RDONLY), 0) == 0); break;
        case 7: CHECK(pthread_create(&thread, NULL, stay, NULL) == 0); break;
        case 8: if ((left = fork()) == 0) stay(NULL); break;
        case 9: setenv("LANG", "xx", 1); break;
        default: prctl(PR_SET_NAME, "other"); break;
        }
        look(&after);
        if (left)
            kill(left, SIGKILL);
        CHECK_TEXT(difference(&before, &after) ? difference(&before, &after) : "", expected[i]);
        _exit(0);
    }
}

static Host remembered;

void remember_host(void)
{
    look(&remembered);
}

void check_host_is_the_same(void)
{
    Host now;
    look(&now);
    check_same(&remembered, &now);
}

static void a_guest_changes_nothing(const void *card)
{
    User user = {.pin = "1234", .role = 0, .then = "1234"};
    char ticket[1024];
    TCK_API_INSTANCE instance;
    Host before, after;
    int i;
    start_spine(NULL);
    use_card(card);
    for (i = 0; i < 2; i++) {
        if (i == 0)
            look(&before);
        answer_with(&user);
        instance = TcktApi_Initialize();
        log_in(instance, ticket);
        CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
        user.pins = 0;
        user.pin = NULL;
        CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
        user.pins = 0;
        user.pin = "1234";
        TcktApi_Finalize(instance);
        look(&after);
        check_same(&before, &after);
    }
}

static void many_logins(const void *card)
{
    User user = {.pin = "1234", .role = 0, .then = "1234"};
    char ticket[1024];
    TCK_API_INSTANCE instance;
    Host before, after;
    long memory = 0;
    int i, count = scaled(150);
    start_spine(NULL);
    use_card(card);
    answer_with(&user);
    instance = TcktApi_Initialize();
    for (i = 0; i < count + 20; i++) {
        if (i == 20) {
            look(&before);
            memory = own_kib();
        }
        user.pins = 0;
        user.pin = i % 3 ? "1234" : NULL;
        CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), i % 3 ? 0 : TCK_API_ERR_USER_ABORT);
        CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    }
    look(&after);
    check_same(&before, &after);
    if (!getenv("TEST_INSTRUMENTED"))
        CHECK(own_kib() <= memory + 1024);
}

const Test process_tests[] = {
    {"fork before, with and after a session", fork_with_a_session, NULL},
    {"fork during logins", fork_during_logins, NULL},
    {"a child forked in a prompt does not log in", a_child_forked_in_a_prompt_does_not_log_in, NULL},
    {"a thread with a stack of 64 KiB: software card", small_stack, "good.p12"},
    {"a thread with a stack of 64 KiB: helper", small_stack, "good"},
    {"what was on the stack makes no difference", what_was_on_the_stack_makes_no_difference, NULL},
    {"a host that blocks all signals", blocked_signals, NULL},
    {"a host that lets the system reap its children", nobody_waits_for_children, NULL},
    {"a host without stdio: software card", closed_stdio, "good.p12"},
    {"a host without stdio: helper", closed_stdio, "good"},
    {"a guest changes nothing: software card", a_guest_changes_nothing, "good.p12"},
    {"a guest changes nothing: helper", a_guest_changes_nothing, "good"},
    {"what a guest must not change is seen", what_a_guest_must_not_change_is_seen, NULL},
    {"many logins leave nothing: software card", many_logins, "good.p12"},
    {"many logins leave nothing: helper", many_logins, "good"},
    {NULL, NULL, NULL},
};
