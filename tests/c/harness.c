#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGUMENTS 16
#define MAX_JOBS 64
#define TEST_SECONDS 120

static char home[] = "/tmp/ticketapi-c-XXXXXX";
static char spine_log[sizeof home + 32];
static pid_t spine;

const char *simulator_log(void)
{
    return spine_log;
}

void leave(void)
{
    execl("/bin/true", "true", (char *)NULL);
    _exit(1);
}

long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void sleep_ms(int ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) {
    }
}

/* Starts a simulator with these arguments, `count` of which are there, and more up to NULL. */
static void start_simulator(const char **argv, int count, const char *const *arguments)
{
    static int number;
    pid_t test = getpid();

    while (arguments && *arguments && count < MAX_ARGUMENTS - 1)
        argv[count++] = *arguments++;
    snprintf(spine_log, sizeof spine_log, "%s/%d-%d", home, (int)test, ++number);
    spine = fork();
    if (spine == 0) {
        int log = open(spine_log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != test || dup2(log, 1) < 0)
            _exit(127);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
}

void start_spine(const char *const *arguments)
{
    const char *argv[MAX_ARGUMENTS] = {needed("SPINE_SIMULATOR"), "--strict", "--state-dir", needed("TEST_STATE")};
    char line[512];
    char *value;

    start_simulator(argv, 4, arguments);
    while (!greeting("# Requests (Ctrl-C stops):", line, sizeof line) && !greeting("url", line, sizeof line)) {
        CHECK(waitpid(-1, NULL, WNOHANG) == 0);
        sleep_ms(2);
    }
    /* The certificates are written before the first line. */
    value = greeting("url", line, sizeof line);
    setenv("TICKETAPI_BASE_URL", value, 1);
    value = greeting("ca_file", line, sizeof line);
    while (!value && !strncmp(getenv("TICKETAPI_BASE_URL"), "https", 5)) {
        sleep_ms(2);
        value = greeting("ca_file", line, sizeof line);
    }
    if (value)
        setenv("TICKETAPI_CA_FILE", value, 1);
    else
        setenv("TICKETAPI_ALLOW_HTTP", "true", 1);
}

/* Takes over a line `export NAME='VALUE'`. */
static void take_setting(char *line)
{
    char *name = line + strlen("export "), *value = strchr(name, '=');
    if (strncmp(line, "export ", strlen("export ")) != 0 || !value || value[1] != '\'')
        return;
    *value = 0;
    value += 2;
    value[strcspn(value, "'")] = 0;
    setenv(name, value, 1);
}

/* Starts a simulator that prints settings, and uses them. */
static void start_with_settings(const char **argv, int count, const char *const *arguments)
{
    char line[1024];
    int started = 0;
    FILE *file;

    start_simulator(argv, count, arguments);
    while (!started) {
        CHECK(waitpid(-1, NULL, WNOHANG) == 0);
        sleep_ms(2);
        file = fopen(spine_log, "r");
        while (file && !started && fgets(line, sizeof line, file))
            started = strncmp(line, "# Requests", strlen("# Requests")) == 0 && strchr(line, '\n') != NULL;
        if (file)
            fclose(file);
    }
    file = fopen(spine_log, "r");
    while (file && fgets(line, sizeof line, file))
        take_setting(line);
    if (file)
        fclose(file);
    setenv("TICKETAPI_BIND_CARD", "false", 1);
}

/* Opens pages with this command, which is given the address. A file of this test's own: tests run at once. */
static void open_pages_with(const char *command)
{
    char browser[sizeof home + 32];
    FILE *file;

    snprintf(browser, sizeof browser, "%s/browser-%d", home, (int)getpid());
    file = fopen(browser, "w");
    CHECK(file != NULL);
    fprintf(file, "#!/bin/sh\nexec %s >/dev/null 2>&1\n", command);
    fclose(file);
    CHECK(chmod(browser, 0700) == 0);
    setenv("TICKETAPI_BROWSER", browser, 1);
}

void start_provider(const char *const *arguments)
{
    const char *argv[MAX_ARGUMENTS] = {needed("OIDC_SIMULATOR"), "--auto", "--state-dir", needed("TEST_STATE")};

    start_with_settings(argv, 4, arguments);
    open_pages_with("\"$OIDC_SIMULATOR\" --browse \"$1\" --ca-file \"$TICKETAPI_CA_FILE\"");
}

void start_node(const char *decision)
{
    static const char *const none[] = {NULL};
    const char *argv[MAX_ARGUMENTS] = {needed("NUTS_SIMULATOR")};
    char command[64];

    start_with_settings(argv, 1, none);
    snprintf(command, sizeof command, "\"$NUTS_SIMULATOR\" --press %s \"$1\"", decision);
    open_pages_with(command);
}

void end_spine(void)
{
    kill(spine, SIGKILL);
    CHECK(waitpid(spine, NULL, 0) == spine);
}

void use_card(const char *name)
{
    char file[512];
    const char *end = strrchr(name, '.');
    if (end && strcmp(end, ".p12") == 0) {
        snprintf(file, sizeof file, "%s/%s", needed("TEST_CARDS"), name);
        setenv("TICKETAPI_SOFTWARE_CARD", file, 1);
    } else {
        snprintf(file, sizeof file, "%s/%s.toml", needed("TEST_CARDS"), name);
        setenv("TICKETAPI_CONFIG", file, 1);
    }
}

void use_scripted_module(const char *card, const char *script)
{
    char path[512], module[512], line[8192];
    const char *cards = needed("TEST_CARDS");
    FILE *file;
    snprintf(path, sizeof path, "%s/faulty.so.script", cards);
    file = fopen(path, "r");
    CHECK(file && fgets(module, sizeof module, file) && fclose(file) == 0);
    snprintf(path, sizeof path, "%s/module-%d.so", home, (int)getpid());
    /* SoftHSM rewrites a token's files at each login, so tests that run in parallel need their own tokens. */
    snprintf(line, sizeof line,
        "cp '%s/faulty.so' '%s' && cp -r \"$(sed -n 's/^directories.tokendir = //p' '%s/%s.conf')\" '%s.tokens' && "
        "sed 's|^directories.tokendir = .*|directories.tokendir = %s.tokens|' '%s/%s.conf' >'%s.conf'",
        cards, path, cards, card, path, path, cards, card, path);
    CHECK(access(path, F_OK) == 0 || system(line) == 0);
    setenv("TICKETAPI_PKCS11_MODULE", path, 1);
    snprintf(line, sizeof line, "env SOFTHSM2_CONF %s.conf", path);
    strcat(path, ".script");
    file = fopen(path, "w");
    CHECK(file && fprintf(file, "%s%s\n%s\n", module, line, script) > 0 && fclose(file) == 0);
}

static int count_entries(const char *folder)
{
    DIR *entries = opendir(folder);
    int count = -2;
    while (entries && readdir(entries))
        count++;
    if (entries)
        closedir(entries);
    return count;
}

int count_descriptors(void)
{
    /* Without the descriptor that reads the folder. */
    return count_entries("/proc/self/fd") - 1;
}

int count_threads(void)
{
    return count_entries("/proc/self/task");
}

int threads_become(int count)
{
    struct timespec pause = {0, 1000000};
    int i;
    /* A joined thread stays in /proc for a moment. */
    for (i = 0; i < 1000 && count_threads() != count; i++)
        nanosleep(&pause, NULL);
    return count_threads() == count;
}

int status_of(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

int count_children(void)
{
    char children[4096];
    int count = 0;
    FILE *file = fopen("/proc/thread-self/children", "r");
    if (file && fgets(children, sizeof children, file)) {
        char *at;
        for (at = children; *at; at++)
            count += *at == ' ';
    }
    if (file)
        fclose(file);
    return count;
}

static long status_kib(const char *key)
{
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = atol(line + strlen(key));
    if (status)
        fclose(status);
    return kib;
}

long resident_kib(void)
{
    return status_kib("VmRSS:");
}

long own_kib(void)
{
    return status_kib("RssAnon:");
}

static void prepare(void)
{
    static const char *const remote[] = {"SSH_CONNECTION", "XRDP_SESSION", "CITRIX_SESSION_ID"};
    size_t i;
    for (i = 0; i < sizeof remote / sizeof *remote; i++)
        unsetenv(remote[i]);
    unsetenv("TICKETAPI_CONFIG");
    unsetenv("XDG_CONFIG_HOME");
    setenv("HOME", home, 1);
    /* Not the agent of the developer's desktop. */
    setenv("TICKETAPI_AGENT", "never", 1);
    if (getenv("TEST_INSTRUMENTED")) {
        /* A handshake takes seconds under valgrind, and longer on a busy machine. */
        setenv("TICKETAPI_CONNECT_TIMEOUT", "60", 1);
        setenv("TICKETAPI_REQUEST_TIMEOUT", "60", 1);
    }
    alarm(TEST_SECONDS * (unsigned)atoi(getenv("TEST_PATIENCE") ? getenv("TEST_PATIENCE") : "1"));
}

/* A running test. */
typedef struct {
    const char *name;
    pid_t process;
    long long began;
} Running;

static Running start(const Test *test)
{
    Running running = {test->name, 0, now_ns()};
    fflush(stdout);
    running.process = fork();
    if (running.process == 0) {
        prepare();
        test->run(test->row);
        /* Not _exit, because leak checkers work at exit. */
        exit(0);
    }
    return running;
}

/* Waits until one of them ends, and removes it from the list. Returns whether it passed. */
static int passes(Running *running, int *count)
{
    int status, i, passed;
    pid_t child;
    while ((child = waitpid(-1, &status, 0)) < 0 && errno == EINTR) {
    }
    for (i = 0; running[i].process != child; i++)
        CHECK(i + 1 < *count);
    if (WIFSIGNALED(status))
        printf("ended by signal %d\n", WTERMSIG(status));
    passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    printf("%s %s (%lld ms)\n", passed ? "ok" : "FAILED", running[i].name, (now_ns() - running[i].began) / 1000000);
    running[i] = running[--*count];
    return passed;
}

static void remove_home(void)
{
    char command[sizeof home + 16];
    snprintf(command, sizeof command, "rm -rf %s", home);
    if (system(command) != 0)
        printf("%s is left\n", home);
}

int run_tests(const Test *const *lists, int argc, char **argv)
{
    int passed = 0, failed = 0, count = 0, jobs = atoi(getenv("TEST_JOBS") ? getenv("TEST_JOBS") : "1");
    Running running[MAX_JOBS];
    const Test *test;
    if (!mkdtemp(home))
        fail(__FILE__, __LINE__, "there is no temporary folder");
    CHECK(jobs >= 1 && jobs <= MAX_JOBS);
    for (; *lists; lists++) {
        for (test = *lists; test->name; test++) {
            if (!selected(test->name, argc, argv))
                continue;
            if (count == jobs)
                passes(running, &count) ? passed++ : failed++;
            running[count++] = start(test);
        }
    }
    while (count > 0)
        passes(running, &count) ? passed++ : failed++;
    remove_home();
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
