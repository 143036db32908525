/* What a login must not change in its host, and what it must not leave behind. */
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "prompts.h"

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

/* Lists which descriptor is open for what. */
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

/* Returns the first difference, or NULL. */
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

/* Each change is made on purpose, and detected. */
static void each_change_of_the_host_is_detected(const void *row)
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

static void the_host_is_unchanged(const void *card)
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
const Test host_tests[] = {
    {"the library changes nothing in the host: software card", the_host_is_unchanged, "good.p12"},
    {"the library changes nothing in the host: helper", the_host_is_unchanged, "good"},
    {"each change of the host is detected", each_change_of_the_host_is_detected, NULL},
    {"many logins leave nothing behind: software card", many_logins, "good.p12"},
    {"many logins leave nothing behind: helper", many_logins, "good"},
    {NULL, NULL, NULL},
};
